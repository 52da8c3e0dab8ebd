//! Prompts with variables: `{{name}}` is a place for a text, where a version declares that name with its default.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The longest name of a variable.
pub const NAME_MAX: usize = 40;
/// The most variables that a prompt declares.
pub const VARIABLES_MAX: usize = 32;
/// The most places in a text, so that it stays bounded whatever is put in.
pub const PLACES_MAX: usize = 256;
/// The longest text of a variable, its default included.
pub const VALUE_MAX_BYTES: usize = 4 << 10;

/// A place in a text: two braces, a word between blanks, two braces; all on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder<'t> {
    /// Where its first brace stands, in bytes.
    pub start: usize,
    /// Behind its last brace.
    pub end: usize,
    /// What stands between, without the blanks around it.
    pub name: &'t str,
}

/// Whether a variable may have this name: small letters, digits and `_`, a letter first.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let tail = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= NAME_MAX && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(tail)
}

/// The places of a text, in their order; of `{{{name}}}` the inner braces are the place.
pub fn placeholders(text: &str) -> impl Iterator<Item = Placeholder<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text[at..].find("{{")?;
            let inside = &text[start + 2..];
            let Some(length) = inside.find(['{', '}', '\n']) else {
                at = text.len();
                return None;
            };
            if inside[length..].starts_with("}}") {
                at = start + length + 4;
                return Some(Placeholder { start, end: at, name: inside[..length].trim() });
            }
            // one brace on: the next may be the first of two
            at = start + 1;
        }
    })
}

/// The text with what each declared variable says in its places: what was given, else its default. What is put in is
/// text and nothing more: braces in it are braces. Nothing changes where nothing is declared.
#[must_use]
pub fn render<'t>(
    text: &'t str,
    declared: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Cow<'t, str> {
    if declared.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut rendered = String::with_capacity(text.len());
    let mut at = 0;
    for Placeholder { start, end, name } in placeholders(text).take(PLACES_MAX) {
        let Some(default) = declared.get(name) else { continue };
        rendered.push_str(&text[at..start]);
        rendered.push_str(given.get(name).unwrap_or(default));
        at = end;
    }
    rendered.push_str(&text[at..]);
    Cow::Owned(rendered)
}

/// Why a text and its variables cannot be sent. Files are told of it with their lines; this holds whoever sends a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No name.
    #[error("`{0}` is no name of a variable; write 1 to {NAME_MAX} small letters, digits and `_`, a letter first")]
    Name(String),
    /// Very many.
    #[error("there are {0} variables, more than {VARIABLES_MAX}; write the rest into the text itself")]
    Variables(usize),
    /// A long one.
    #[error("the default of `{0}` has more than {VALUE_MAX_BYTES} bytes; shorten it, or write it into the text itself")]
    Value(String),
    /// Very many places.
    #[error("the prompt has {0} places, more than {PLACES_MAX}; write a variable out where it stands often")]
    Places(usize),
    /// A place for nothing.
    #[error("there is a place for `{0}`, and no variable of that name; declare it with a default, or correct it")]
    Undeclared(String),
    /// A variable without a place.
    #[error("the text does not use `{0}`; write `{{{{{0}}}}}` where it is to stand, or remove it")]
    Unused(String),
    /// A request could make it empty.
    #[error("the prompt is nothing but variables, so that a request could make it empty; write something beside them")]
    Empty,
}

/// Whether each variable has a place and each place a variable, all within their bounds. Without variables braces are
/// text, and there is nothing to ask.
///
/// # Errors
/// The first thing that is [`Unfit`].
pub fn check(text: &str, declared: &BTreeMap<String, String>) -> Result<(), Unfit> {
    if declared.is_empty() {
        return Ok(());
    }
    if declared.len() > VARIABLES_MAX {
        return Err(Unfit::Variables(declared.len()));
    }
    let mut places = 0;
    let mut used = BTreeSet::new();
    for place in placeholders(text) {
        places += 1;
        used.insert(place.name);
        if !declared.contains_key(place.name) {
            return Err(Unfit::Undeclared(place.name.chars().take(NAME_MAX).collect()));
        }
    }
    if places > PLACES_MAX {
        return Err(Unfit::Places(places));
    }
    for (name, default) in declared {
        if !is_name(name) {
            return Err(Unfit::Name(name.chars().take(NAME_MAX).collect()));
        }
        if default.len() > VALUE_MAX_BYTES {
            return Err(Unfit::Value(name.clone()));
        }
        if !used.contains(name.as_str()) {
            return Err(Unfit::Unused(name.clone()));
        }
    }
    let nothing = declared.keys().map(|name| (name.clone(), String::new())).collect();
    if render(text, &nothing, &BTreeMap::new()).trim().is_empty() { Err(Unfit::Empty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn names(text: &str) -> Vec<&str> {
        placeholders(text).map(|place| place.name).collect()
    }

    #[test]
    fn places_are_found_where_they_are_whole() {
        assert_eq!(names("{{a}} and {{ b }}{{c}}"), ["a", "b", "c"]);
        assert_eq!(names("{{{a}}} {{ {{b}} }}"), ["a", "b"], "the inner braces are the place");
        assert_eq!(names("{{a}, {a}}, {{a\n}}, {{a"), [] as [&str; 0]);
        assert_eq!(names("{{}} {{a b}} {{é}}"), ["", "a b", "é"]);
        assert_eq!(names(r#"{"a":{"b":{}}} {"a":{"b":1}}"#), [] as [&str; 0], "JSON is text");
    }

    #[test]
    fn what_is_given_stands_before_the_default_and_the_rest_stays() {
        let declared = map(&[("company", "Acme"), ("tone", "calm")]);
        let text = "You help {{company}}'s customers, {{ tone }}. {{other}} {{{company}}}";
        let with = |given: &[(&str, &str)]| render(text, &declared, &map(given)).into_owned();
        assert_eq!(with(&[]), "You help Acme's customers, calm. {{other}} {Acme}");
        assert_eq!(
            with(&[("company", "Globex"), ("other", "x")]),
            "You help Globex's customers, calm. {{other}} {Globex}"
        );
        assert_eq!(with(&[("company", "{{tone}}")]), "You help {{tone}}'s customers, calm. {{other}} {{{tone}}}");
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "company", "a_1", &"a".repeat(NAME_MAX)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "1a", "_a", "a-b", "a b", "é", "aé", &"a".repeat(NAME_MAX + 1)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_not_whole_or_not_bounded_is_unfit() {
        let told =
            |text: &str, declared: &[(&str, &str)]| check(text, &map(declared)).map_err(|unfit| unfit.to_string());
        assert_eq!(told("{{a}}", &[]), Ok(()), "braces are text");
        assert_eq!(told("Be {{a}}{{ b }}, {{a}}", &[("a", "1"), ("b", &"é".repeat(VALUE_MAX_BYTES / 2))]), Ok(()));
        let said = |text: &str, declared: &[(&str, &str)]| told(text, declared).unwrap_err();
        assert!(said("x {{A}}", &[("A", "")]).starts_with("`A` is no name"));
        assert!(said("x {{b}}", &[("a", "")]).starts_with("there is a place for `b`"));
        assert!(said("x {{a}}", &[("a", ""), ("b", "")]).contains("write `{{b}}` where it is to stand"));
        assert!(said("x {{a}}", &[("a", &"x".repeat(VALUE_MAX_BYTES + 1))]).starts_with("the default of `a`"));
        assert!(said(" {{a}}\n{{a}} ", &[("a", "x")]).starts_with("the prompt is nothing but variables"));
        assert_eq!(told(&format!("x{}", "{{a}}".repeat(PLACES_MAX)), &[("a", "")]), Ok(()));
        assert!(said(&"{{a}} ".repeat(PLACES_MAX + 1), &[("a", "")]).contains("257 places"));
        let many: Vec<String> = (0..=VARIABLES_MAX).map(|i| format!("v{i}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert!(said("x", &many).contains("33 variables"));
    }

    /// Texts of which many pieces are braces.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("{{".to_owned()),
            Just("}}".to_owned()),
            Just("{{a}}".to_owned()),
            Just("{{ b }}".to_owned()),
            Just("a".to_owned()),
            Just("\n".to_owned()),
            "\\PC{0,4}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn values() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned), text(), 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn without_a_place_or_a_variable_it_is_the_text(text in text(), declared in values(), given in values()) {
            prop_assert_eq!(&*render(&text, &BTreeMap::new(), &given), &*text);
            if !placeholders(&text).any(|place| declared.contains_key(place.name)) {
                prop_assert_eq!(&*render(&text, &declared, &given), &*text);
            }
        }

        #[test]
        fn what_is_given_is_put_in_as_a_default_would_be(text in text(), declared in values(), given in values()) {
            let said = |(name, default): (&String, &String)| (name.clone(), given.get(name).unwrap_or(default).clone());
            let merged = declared.iter().map(said).collect();
            prop_assert_eq!(render(&text, &declared, &given), render(&text, &merged, &BTreeMap::new()));
        }

        /// Cut at its places, the text is its pieces and the values between them: nothing in a value is read.
        #[test]
        fn values_stand_between_the_pieces_as_they_are(pieces in prop::collection::vec("[^{}]{0,6}", 1..6), value in text()) {
            let text = pieces.join("{{a}}");
            let (declared, given) = (map(&[("a", "default")]), map(&[("a", &value), ("b", "never")]));
            prop_assert_eq!(render(&text, &declared, &given).into_owned(), pieces.join(&value));
        }

        /// What is fit is bounded whatever a client gives, and never empty.
        #[test]
        fn what_is_fit_stays_a_prompt(text in text(), declared in values(), given in values()) {
            if check(&text, &declared).is_ok() {
                let rendered = render(&text, &declared, &given);
                let longest = declared.values().chain(given.values()).map(String::len).max().unwrap_or(0);
                prop_assert!(rendered.len() <= text.len() + PLACES_MAX * longest);
                let own = !text.trim().is_empty();
                prop_assert!(declared.is_empty() || own && !rendered.trim().is_empty());
            }
        }

        #[test]
        fn any_text_has_places_that_stand_in_it(text: String) {
            let mut last = 0;
            for Placeholder { start, end, name } in placeholders(&text) {
                prop_assert!(last <= start && text[start..end].starts_with("{{") && text[start..end].ends_with("}}"));
                prop_assert_eq!(text[start + 2..end - 2].trim(), name);
                last = end;
            }
        }
    }
}
