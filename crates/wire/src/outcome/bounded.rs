//! Is a schema cheap to check against. Schemas come from clients, and a short one can ask for endless
//! work: a reference to itself, or definitions that refer twice to the next, thirty deep.
//!
//! A reference is followed only to a place inside the schema. Definitions that refer to each other in a
//! circle are taken where the circle is simple, as in a list or a tree with one kind of branch: each
//! level of the checked value then costs the same. The rest must unfold to a bounded size.

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
    keywords: u64,
    /// What it refers to, and whether a step into the value lies between.
    refers: Vec<(String, Step)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Stays,
    GoesIn,
}

/// Whether checking against `schema` costs time that is bounded by the sizes of both.
pub(super) fn is_bounded(schema: &Value) -> bool {
    let Some(places) = places(schema) else { return false };
    let graph =
        Graph { reached: places.keys().map(|from| (from.as_str(), reached(&places, from))).collect(), places: &places };
    places.keys().all(|place| graph.circle_is_simple(place)) && graph.unfolded("", &mut HashMap::new()).is_some()
}

/// The root and all that is referred to from it; `None` where something refused is among it.
fn places(schema: &Value) -> Option<HashMap<String, Place>> {
    let mut places: HashMap<String, Place> = HashMap::new();
    let mut open = vec![String::new()];
    while let Some(pointer) = open.pop() {
        if places.contains_key(&pointer) {
            continue;
        }
        if places.len() == PLACES_MAX {
            return None;
        }
        let mut place = Place::default();
        place.read(schema.pointer(&pointer)?, Step::Stays, pointer.is_empty())?;
        open.extend(place.refers.iter().map(|(target, _)| target.clone()));
        places.insert(pointer, place);
    }
    Some(places)
}

/// What is reached from `from` by one reference or more.
fn reached<'p>(places: &'p HashMap<String, Place>, from: &str) -> HashSet<&'p str> {
    let mut reached = HashSet::new();
    let mut open = vec![from];
    while let Some(place) = open.pop().and_then(|pointer| places.get(pointer)) {
        for (target, _) in &place.refers {
            if reached.insert(target.as_str()) {
                open.push(target);
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
    fn returning(&self, pointer: &str) -> impl Iterator<Item = &'p (String, Step)> {
        let refers = self.places.get(pointer).map_or(&[][..], |place| &place.refers);
        refers.iter().filter(move |(target, _)| target == pointer || self.reaches(target, pointer))
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        self.reached.get(from).is_some_and(|reached| reached.contains(to))
    }

    /// Whether a place lies on no circle, or on one that comes back in one way only and steps into the
    /// value.
    fn circle_is_simple(&self, start: &str) -> bool {
        let mut steps_in = false;
        let mut at = start;
        loop {
            let mut returning = self.returning(at);
            match (returning.next(), returning.next()) {
                (None, _) => return true,
                (Some(_), Some(_)) => return false,
                (Some((target, step)), None) => {
                    steps_in |= *step == Step::GoesIn;
                    at = target;
                }
            }
            if at == start {
                return steps_in;
            }
        }
    }

    /// The size of a place, with its references unfolded and circles gone round once; `None` where
    /// that is too large.
    fn unfolded(&self, pointer: &'p str, known: &mut HashMap<&'p str, u64>) -> Option<u64> {
        if let Some(size) = known.get(pointer) {
            return Some(*size);
        }
        let place = self.places.get(pointer)?;
        let mut size = place.keywords;
        for (target, _) in
            place.refers.iter().filter(|(target, _)| !(target == pointer || self.reaches(target, pointer)))
        {
            size += self.unfolded(target, known)?;
            if size > UNFOLDED_MAX {
                return None;
            }
        }
        known.insert(pointer, size);
        Some(size).filter(|size| *size <= UNFOLDED_MAX)
    }
}

impl Place {
    /// Reads a schema; `None` where it holds what is refused.
    fn read(&mut self, schema: &Value, step: Step, root: bool) -> Option<()> {
        match schema {
            Value::Object(members) => self.object(members, step, root),
            Value::Array(schemas) => schemas.iter().try_for_each(|schema| self.read(schema, step, false)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, step: Step, root: bool) -> Option<()> {
        for (keyword, value) in members {
            self.keywords += 1;
            let keyword = keyword.as_str();
            if REFUSED.contains(&keyword) || (keyword == "$id" && !root) {
                return None;
            }
            if keyword == "$ref" {
                let target = value.as_str()?.strip_prefix('#')?;
                self.refers.push((decoded(target)?, step));
                continue;
            }
            if NOT_FOLLOWED.contains(&keyword) {
                continue;
            }
            let step = if STEPS.contains(&keyword) { Step::GoesIn } else { step };
            if let (Value::Object(named), true) = (value, MAPS.contains(&keyword)) {
                self.keywords += named.len() as u64;
                named.values().try_for_each(|schema| self.read(schema, step, false))?;
            } else {
                self.read(value, step, false)?;
            }
        }
        Some(())
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
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
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
        ] {
            assert!(!is_bounded(&schema), "{schema}");
        }
    }
}
