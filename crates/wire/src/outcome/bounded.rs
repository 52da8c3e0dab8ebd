//! Is a schema cheap to check against. Schemas come from clients, and a short one can ask for endless
//! work: a reference to itself, or definitions that refer twice to the next, thirty deep.
//!
//! A reference is followed only to a place inside the schema. Definitions that refer to each other in a
//! circle are taken where the circle is simple, as in a list or a tree with one kind of branch: each
//! level of the checked value then costs the same. The rest must unfold to a bounded size. A schema that
//! forbids what others have not evaluated goes through those others once more to know it, and where such
//! stand within each other each doubles what is within: that is counted too.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The size to which a schema may unfold, in keywords.
const UNFOLDED_MAX: u64 = 20_000;
/// Places that are referred to.
const PLACES_MAX: usize = 200;

/// Keywords whose values are maps from names to schemas.
const MAPS: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs"];
/// Keywords whose values are data, and those that only define.
const NOT_FOLLOWED: [&str; 7] = ["enum", "const", "default", "examples", "$defs", "definitions", "$comment"];
/// Keywords that make a schema depend on more than what stands at the end of a pointer.
const REFUSED: [&str; 5] = ["$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "$anchor"];
/// Keywords that ask their neighbours what of the value they have evaluated.
const ASKING: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Of the keywords that step into the value, those that are checked again to know what they evaluate.
const CHECKED_WHEN_ASKED: [&str; 4] = ["contains", "additionalItems", "unevaluatedItems", "unevaluatedProperties"];
/// Keywords that step into the checked value.
const STEPS: [&str; 11] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "contentSchema",
];

/// One place that is referred to, or the root.
#[derive(Default)]
struct Place {
    /// What its own keywords cost.
    own: Cost,
    refers: Vec<Reference>,
    /// Whether `id` names a schema, as in the fourth draft.
    is_draft_4: bool,
}

/// A reference of a place to another.
struct Reference {
    to: String,
    step: Step,
    times: Cost<Times>,
}

/// Of one check of a place, and of asking it once what it evaluates.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Cost<T = u64> {
    check: T,
    ask: T,
}

/// How often a schema is checked, and asked what it evaluates.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    checked: u64,
    asked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Stays,
    GoesIn,
}

/// Whether checking against `schema` costs time that is bounded by the sizes of both.
pub(super) fn is_bounded(schema: &Value) -> bool {
    let is_draft_4 = schema.get("$schema").and_then(Value::as_str).is_some_and(|named| named.contains("draft-04"));
    let Some(places) = places(schema, is_draft_4) else { return false };
    let graph =
        Graph { reached: places.keys().map(|from| (from.as_str(), reached(&places, from))).collect(), places: &places };
    let is_small = |cost: Cost| cost.check <= UNFOLDED_MAX;
    places.keys().all(|place| graph.circle_is_simple(place))
        && graph.unfolded("", &mut HashMap::new()).is_some_and(is_small)
}

/// The root and all that is referred to from it; `None` where something refused is among it.
fn places(schema: &Value, is_draft_4: bool) -> Option<HashMap<String, Place>> {
    let mut places: HashMap<String, Place> = HashMap::new();
    let mut open = vec![String::new()];
    while let Some(pointer) = open.pop() {
        if places.contains_key(&pointer) {
            continue;
        }
        if places.len() == PLACES_MAX {
            return None;
        }
        let mut place = Place { is_draft_4, ..Place::default() };
        place.read(schema.pointer(&pointer)?, Way::START, pointer.is_empty())?;
        open.extend(place.refers.iter().map(|reference| reference.to.clone()));
        places.insert(pointer, place);
    }
    Some(places)
}

/// What is reached from `from` by one reference or more.
fn reached<'p>(places: &'p HashMap<String, Place>, from: &str) -> HashSet<&'p str> {
    let mut reached = HashSet::new();
    let mut open = vec![from];
    while let Some(place) = open.pop().and_then(|pointer| places.get(pointer)) {
        for reference in &place.refers {
            if reached.insert(reference.to.as_str()) {
                open.push(&reference.to);
            }
        }
    }
    reached
}

struct Graph<'p> {
    places: &'p HashMap<String, Place>,
    reached: HashMap<&'p str, HashSet<&'p str>>,
}

impl<'p> Graph<'p> {
    /// The references of a place that come back to it.
    fn returning(&self, pointer: &str) -> impl Iterator<Item = &'p Reference> {
        let refers = self.places.get(pointer).map_or(&[][..], |place| &place.refers);
        refers.iter().filter(move |reference| self.returns(reference, pointer))
    }

    fn returns(&self, reference: &Reference, pointer: &str) -> bool {
        reference.to == pointer || self.reaches(&reference.to, pointer)
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        self.reached.get(from).is_some_and(|reached| reached.contains(to))
    }

    /// Whether a place lies on no circle, or on one that comes back in one way only, once, and steps into
    /// the value.
    fn circle_is_simple(&self, start: &str) -> bool {
        let mut steps_in = false;
        let mut at = start;
        loop {
            let mut returning = self.returning(at);
            match (returning.next(), returning.next()) {
                (None, _) => return true,
                (Some(_), Some(_)) => return false,
                (Some(one), None) => {
                    if one.times.check.checked > 1 || one.times.check.asked > 0 {
                        return false;
                    }
                    steps_in |= one.step == Step::GoesIn;
                    at = &one.to;
                }
            }
            if at == start {
                return steps_in;
            }
        }
    }

    /// The cost of a place, with its references unfolded and circles gone round once.
    fn unfolded(&self, pointer: &'p str, known: &mut HashMap<&'p str, Cost>) -> Option<Cost> {
        if let Some(cost) = known.get(pointer) {
            return Some(*cost);
        }
        let place = self.places.get(pointer)?;
        let mut cost = place.own;
        for reference in place.refers.iter().filter(|reference| !self.returns(reference, pointer)) {
            let other = self.unfolded(&reference.to, known)?;
            cost.check = cost.check.saturating_add(reference.times.check.of(other));
            cost.ask = cost.ask.saturating_add(reference.times.ask.of(other));
        }
        known.insert(pointer, cost);
        Some(cost)
    }
}

impl Times {
    fn of(self, cost: Cost) -> u64 {
        self.checked.saturating_mul(cost.check).saturating_add(self.asked.saturating_mul(cost.ask))
    }

    /// Of a schema that asks its neighbours.
    fn asking(self) -> Self {
        Self { asked: self.asked.saturating_add(self.checked), ..self }
    }

    /// Of what is within it and sees the same value: to be asked, it is checked too.
    fn within(self) -> Self {
        Self { checked: self.checked.saturating_add(self.asked), ..self }
    }

    /// Of what is within it and sees a part of the value.
    fn stepping(self, keyword: &str) -> Self {
        let again = if CHECKED_WHEN_ASKED.contains(&keyword) { self.asked } else { 0 };
        Self { checked: self.checked.saturating_add(again), asked: 0 }
    }
}

/// How a schema is come to from its place.
#[derive(Clone, Copy)]
struct Way {
    step: Step,
    times: Cost<Times>,
}

impl Way {
    const START: Self = Self {
        step: Step::Stays,
        times: Cost { check: Times { checked: 1, asked: 0 }, ask: Times { checked: 0, asked: 1 } },
    };

    fn map(self, times: impl Fn(Times) -> Times) -> Self {
        Self { times: Cost { check: times(self.times.check), ask: times(self.times.ask) }, ..self }
    }

    /// On through a keyword.
    fn through(self, keyword: &str) -> Self {
        if STEPS.contains(&keyword) {
            Self { step: Step::GoesIn, ..self.map(|times| times.stepping(keyword)) }
        } else {
            self.map(Times::within)
        }
    }
}

impl Place {
    /// Reads a schema; `None` where it holds what is refused.
    fn read(&mut self, schema: &Value, way: Way, root: bool) -> Option<()> {
        match schema {
            Value::Object(members) => self.object(members, way, root),
            Value::Array(schemas) => schemas.iter().try_for_each(|schema| self.read(schema, way, false)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, way: Way, root: bool) -> Option<()> {
        let asks = ASKING.iter().any(|keyword| members.contains_key(*keyword));
        let way = if asks { way.map(Times::asking) } else { way };
        for (keyword, value) in members {
            self.cost(1, way);
            let keyword = keyword.as_str();
            let named = keyword == "$id" || (self.is_draft_4 && keyword == "id" && value.is_string());
            if REFUSED.contains(&keyword) || (named && !root) {
                return None;
            }
            if keyword == "$ref" {
                let to = decoded(value.as_str()?.strip_prefix('#')?)?;
                let Way { step, times } = way.through(keyword);
                self.refers.push(Reference { to, step, times });
                continue;
            }
            if NOT_FOLLOWED.contains(&keyword) {
                continue;
            }
            let inside = way.through(keyword);
            if let (Value::Object(named), true) = (value, MAPS.contains(&keyword)) {
                self.cost(named.len() as u64, way);
                named.values().try_for_each(|schema| self.read(schema, inside, false))?;
            } else {
                self.read(value, inside, false)?;
            }
        }
        Some(())
    }

    fn cost(&mut self, keywords: u64, way: Way) {
        let each = Cost { check: keywords, ask: keywords };
        self.own.check = self.own.check.saturating_add(way.times.check.of(each));
        self.own.ask = self.own.ask.saturating_add(way.times.ask.of(each));
    }
}

/// A pointer as it stands in a fragment, percent-encoding undone.
fn decoded(fragment: &str) -> Option<String> {
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            rest = behind;
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_as_people_write_them_are_bounded() {
        for schema in [
            json!(true),
            json!({"type": "object", "properties": {"$ref": {"type": "string"}, "a": {"enum": [{"$ref": "no"}]}}}),
            json!({"$defs": {"city": {"type": "string"}}, "properties": {"from": {"$ref": "#/$defs/city"}, "to": {"$ref": "#/$defs/city"}}}),
            json!({"definitions": {"a/b": {}}, "items": {"$ref": "#/definitions/a~1b"}}),
            // A list, a tree, and two that hold each other.
            json!({"properties": {"next": {"$ref": "#"}}}),
            json!({"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}),
            json!({"unevaluatedProperties": false, "properties": {"child": {"$ref": "#"}, "id": {"type": "string"}}}),
            json!({"unevaluatedProperties": false, "allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"unevaluatedItems": false, "prefixItems": [true]}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/b"}}}, "b": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}}),
        ] {
            assert!(is_bounded(&schema), "{schema}");
        }
    }

    #[test]
    fn schemas_without_an_end_are_not() {
        let mut doubling: Map<String, Value> = (0..40)
            .map(|i| (format!("d{i}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", i + 1)}, {"$ref": format!("#/$defs/d{}", i + 1)}]})))
            .collect();
        doubling.insert("d40".to_owned(), json!({"type": "string"}));
        for schema in [
            json!({"$ref": "#"}),
            json!({"anyOf": [{"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            json!({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}),
            json!({"$ref": "#/$defs/d0", "$defs": doubling}),
            json!({"$ref": "https://example.com/schema"}),
            json!({"$ref": "#/nowhere"}),
            json!({"$ref": "#name"}),
            json!({"$dynamicRef": "#x"}),
            json!({"items": {"$id": "inner"}}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "inner"}}),
            json!({"$ref": "#/$defs/%+1", "$defs": {"\u{1}": {}}}),
            // Each level of a tree twice: once to check it, once to know what is left.
            json!({"unevaluatedProperties": false, "allOf": [{"properties": {"child": {"$ref": "#"}}}]}),
        ] {
            assert!(!is_bounded(&schema), "{schema}");
        }
    }

    /// Two to the thirtieth checks, asked for in a kilobyte.
    #[test]
    fn what_asks_for_the_unevaluated_within_another_doubles_it() {
        for (asking, how) in
            [("unevaluatedProperties", "allOf"), ("unevaluatedItems", "oneOf"), ("unevaluatedProperties", "if")]
        {
            let nested = |levels: usize| {
                (0..levels).fold(
                    json!({"properties": {"a": true}, "prefixItems": [true]}),
                    |inner, _| json!({asking: false, how: if how == "if" { inner } else { json!([inner]) }}),
                )
            };
            assert!(is_bounded(&nested(4)), "{asking} {how}");
            assert!(!is_bounded(&nested(30)), "{asking} {how}");
        }
    }
}
