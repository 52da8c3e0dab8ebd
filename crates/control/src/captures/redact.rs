//! What is taken out of a text before it is kept: addresses of mail, phone numbers, numbers of cards and accounts, keys and
//! tokens, and whatever the site's own patterns find. Each is replaced by its name in brackets.
//!
//! Patterns find forms, not meanings: a name or an address of a street stays. A webhook can know more ([`super`]).

use regex::{Captures, Regex, RegexBuilder};
use std::borrow::Cow;

/// The compiled size of one pattern at most.
const PATTERN_MAX_BYTES: usize = 1 << 20;

/// One kind of text that is taken out.
#[derive(Debug, Clone)]
struct Pattern {
    name: String,
    form: Regex,
    accept: Accept,
}

/// What else has to hold of what a pattern found.
#[derive(Debug, Clone, Copy)]
enum Accept {
    All,
    /// It has a digit, as no word has.
    Numbered,
    /// So many digits, and the check digit of cards is right.
    Card,
    /// The check digits of an account are right.
    Account,
    /// A plus, parts or many digits, and no date.
    Phone,
}

/// Takes texts out.
#[derive(Debug, Clone)]
pub struct Redactor {
    patterns: Vec<Pattern>,
}

/// A pattern cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(String);

/// The order matters: what is surest and longest goes first.
const BUILT_IN: [(&str, &str, Accept); 9] = [
    ("private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", Accept::All),
    ("token", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}", Accept::All),
    ("token", r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{12,}|\bbasic\s+[A-Za-z0-9+/]{8,}={1,2}", Accept::All),
    (
        "key",
        r"\b(?:sk|pk|rk|gsk|hf|xai|glpat|whsec|ck|shpat)[-_][A-Za-z0-9_-]{12,}|\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{12,}|\bgithub_pat_[A-Za-z0-9_]{12,}|\bxox[a-z]-[A-Za-z0-9-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[A-Za-z0-9_-]{20,}|\bya29\.[A-Za-z0-9_-]{12,}",
        Accept::Numbered,
    ),
    (
        "secret",
        r#"(?i)\b(?:api[_ -]?key|secret|password|passwd|passwort|access[_ -]?token)["']?\s*(?:[:=]|is\b)\s*["']?[^\s"',;]{6,}"#,
        Accept::All,
    ),
    ("mail", r"[\p{L}\p{N}._%+'-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+", Accept::All),
    ("account", r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", Accept::Account),
    ("card", r"\b[0-9](?:[ \u{a0}.-]?[0-9]){12,18}\b", Accept::Card),
    ("phone", r"(?:\+|\b00|\b|\()[0-9](?:[ \u{a0}./()-]{0,2}[0-9]){6,}\b", Accept::Phone),
];

impl Redactor {
    /// The built-in patterns, and before them the site's own by name.
    ///
    /// # Errors
    /// [`BadPattern`] for one that cannot be used.
    pub fn new<'a>(own: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BadPattern> {
        let own = own.into_iter().map(|(name, form)| (name, form, Accept::All));
        let patterns = own
            .chain(BUILT_IN)
            .map(|(name, form, accept)| Ok(Pattern { name: name.to_owned(), form: compiled(form)?, accept }));
        Ok(Self { patterns: patterns.collect::<Result<_, BadPattern>>()? })
    }

    /// The text without them, and how many there were.
    #[must_use]
    pub fn redact(&self, text: &str) -> (String, u64) {
        let mut found = 0;
        let mut text = Cow::Borrowed(text);
        for Pattern { name, form, accept } in &self.patterns {
            let replace = |hit: &Captures<'_>| {
                let hit = hit.get(0).map_or("", |hit| hit.as_str());
                if !accept.holds(hit) {
                    return hit.to_owned();
                }
                found += 1;
                format!("[{name}]")
            };
            if let Cow::Owned(changed) = form.replace_all(&text, replace) {
                text = Cow::Owned(changed);
            }
        }
        (text.into_owned(), found)
    }
}

fn compiled(form: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(form).size_limit(PATTERN_MAX_BYTES).build();
    let regex =
        built.map_err(|error| BadPattern(error.to_string().lines().last().unwrap_or("no pattern").to_owned()))?;
    if regex.is_match("") {
        return Err(BadPattern("it matches nothing at all, and so everywhere".to_owned()));
    }
    Ok(regex)
}

impl Accept {
    fn holds(self, hit: &str) -> bool {
        let digits = || hit.bytes().filter(u8::is_ascii_digit);
        match self {
            Self::All => true,
            Self::Card => (13..=19).contains(&digits().count()) && luhn(digits()),
            Self::Account => mod_97(hit),
            Self::Numbered => digits().next().is_some(),
            // Seven digits in a row may be an order.
            Self::Phone => {
                let in_parts = hit.bytes().any(|b| !b.is_ascii_digit());
                (in_parts || hit.starts_with("00") || digits().count() >= 10) && !is_date(hit)
            }
        }
    }
}

/// `2026-11-29`, `29.11.2026`, `11/29/2026`, and an hour after it.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '.', '/', ' ']).collect();
    let of = |lengths: &[usize]| parts.iter().map(|part| part.len()).eq(lengths.iter().copied());
    let year = |at: usize| parts.get(at).is_some_and(|part| part.starts_with("19") || part.starts_with("20"));
    let first = (of(&[4, 2, 2]) || of(&[4, 2, 2, 2])) && year(0);
    first || (of(&[2, 2, 4]) || of(&[2, 2, 4, 2])) && year(2)
}

/// The check digit of card numbers: every second digit from the right doubled, all summed, a multiple of ten.
fn luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let weighed = digits.rev().enumerate().map(|(at, digit)| {
        let value = u32::from(digit - b'0');
        if at % 2 == 0 { value } else { value * 2 / 10 + value * 2 % 10 }
    });
    weighed.sum::<u32>() % 10 == 0
}

/// The check digits of accounts by ISO 13616: the first four signs last, letters as numbers, one modulo 97.
fn mod_97(text: &str) -> bool {
    let signs: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((first, rest)) = signs.split_at_checked(4) else { return false };
    let mut rest_of = 0_u32;
    for sign in rest.iter().chain(first) {
        let Some(value) = sign.to_digit(36) else { return false };
        let shift = if value > 9 { 100 } else { 10 };
        rest_of = (rest_of * shift + value) % 97;
    }
    (15..=34).contains(&signs.len()) && rest_of == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn redact(text: &str) -> String {
        static BUILT_IN_ALONE: LazyLock<Redactor> = LazyLock::new(|| Redactor::new([]).unwrap());
        BUILT_IN_ALONE.redact(text).0
    }

    #[test]
    fn what_names_a_person_or_opens_a_door_is_taken_out() {
        for (text, left) in [
            ("write to Ann.O'Neil+x@mail.example.co.uk!", "write to [mail]!"),
            ("jörg@müller.de", "[mail]"),
            ("call +49 (0)30 1234-5678 or 030/12345678.", "call [phone] or [phone]."),
            ("(555) 123-4567", "[phone]"),
            ("0049 170 1234567", "[phone]"),
            ("card 4111 1111 1111 1111, ok?", "card [card], ok?"),
            ("4111-1111-1111-1111", "[card]"),
            ("4111 1111 1111 1112", "[phone]"),
            ("2026-11-29 0170 1234567", "[phone]"),
            ("378282246310005", "[card]"),
            ("pay to DE89 3704 0044 0532 0130 00 now", "pay to [account] now"),
            ("GB82WEST12345698765432", "[account]"),
            ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: [token]"),
            ("my key sk-proj-Ab3_xyz0123456789 leaks", "my key [key] leaks"),
            ("AKIAIOSFODNN7EXAMPLE", "[key]"),
            ("ghp_0123456789abcdef", "[key]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "[token]"),
            ("password: hunter2hunter2", "[secret]"),
            ("{\"api_key\": \"0123456789\"}", "{\"[secret]\"}"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\nxyz\n-----END RSA PRIVATE KEY-----", "[private key]"),
            ("-----BEGIN PRIVATE KEY-----\nMIIB", "[private key]"),
        ] {
            assert_eq!(redact(text), left, "{text}");
        }
    }

    #[test]
    fn what_only_looks_alike_stays() {
        for text in [
            "order 1234567 of 2026",
            "on 2026-11-29 16:52, or 29.11.2026, or 11/29/2026",
            "a basic understanding of sk-learn-compatible-things",
            "between 2024 and 2026, 12 of 30",
            "the sky-blue ski-jumper",
            "version 1.2.3",
            "costs 12.50 dollars",
            "@home and me@",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn the_sites_own_patterns_go_first_and_a_bad_one_is_refused() {
        let own = Redactor::new([("order", r"ORD-[0-9]{6}"), ("name", r"(?i)\bzebra\b")]).unwrap();
        assert_eq!(
            own.redact("Zebra asked for ORD-123456, twice: ORD-654321"),
            ("[name] asked for [order], twice: [order]".to_owned(), 3)
        );
        for bad in ["(", "a*", "", r"(?:[\p{L}]{1000}){1000}"] {
            assert!(Redactor::new([("bad", bad)]).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_card_number_is_found_wherever_it_stands(body in "[0-9]{15}", before in "[ a-z,]{0,9}", after in "[ a-z,]{0,9}") {
            let check = (b'0'..=b'9').find(|digit| luhn(body.bytes().chain([*digit]).collect::<Vec<_>>().into_iter()));
            let card = format!("{body}{}", char::from(check.unwrap()));
            let text = format!("{before} {card} {after}");
            prop_assert_eq!(redact(&text), format!("{before} [card] {after}"));
        }

        #[test]
        fn what_is_redacted_holds_nothing_more_to_redact(text in "\\PC{0,200}") {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once);
        }
    }
}
