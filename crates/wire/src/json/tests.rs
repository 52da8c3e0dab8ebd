//! The scanner against `serde_json`: it accepts the same, and its spans hold the same values.

use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Any JSON value, as text with white space and escapes sprinkled in.
fn json() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", " ", "\n", "\t\r\n "]);
    let string = prop::collection::vec(
        prop::sample::select(vec![
            "a",
            "é",
            "漢",
            "😀",
            "\\n",
            "\\\"",
            "\\\\",
            "\\/",
            "\\u0041",
            "\\u00e9",
            "\\ud83d\\ude00",
            "plain text, {[]}:",
        ]),
        0..6,
    )
    .prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let leaf = prop_oneof![
        string.clone(),
        prop::sample::select(vec!["0", "-0", "12", "-3.25", "1e5", "2E-3", "true", "false", "null"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let items = prop::collection::vec((space(), inner.clone(), space()), 0..6)
            .prop_map(|items| items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect::<Vec<_>>().join(","));
        let members = prop::collection::vec((space(), string.clone(), space(), inner), 0..6).prop_map(|members| {
            members.iter().map(|(a, key, b, value)| format!("{a}{key}{b}:{value}")).collect::<Vec<_>>().join(",")
        });
        prop_oneof![
            (space(), items).prop_map(|(a, items)| format!("[{a}{items}]")),
            (space(), members).prop_map(|(a, members)| format!("{{{a}{members}}}")),
        ]
    })
}

/// The tree that the scanner sees.
fn tree(scanner: &mut Scanner<'_>) -> Result<Value, ScanError> {
    Ok(match scanner.peek()? {
        Kind::Object => {
            let mut members = serde_json::Map::new();
            scanner.enter_object()?;
            while let Some(key) = scanner.next_member()? {
                members.insert(key.decode().into_owned(), tree(scanner)?);
            }
            Value::Object(members)
        }
        Kind::Array => {
            let mut items = Vec::new();
            scanner.enter_array()?;
            while scanner.next_item()? {
                items.push(tree(scanner)?);
            }
            Value::Array(items)
        }
        Kind::String => Value::String(scanner.string()?.decode().into_owned()),
        Kind::Number | Kind::Bool | Kind::Null => serde_json::from_slice(scanner.value()?).unwrap(),
    })
}

fn agrees(text: &[u8]) {
    let ours = check(text);
    let theirs = serde_json::from_slice::<Value>(text);
    // What serde_json says no to for other reasons than the grammar: lone surrogates, no UTF-8 in
    // strings, numbers out of range. The last two it lets pass where it need not keep the value.
    let lenient = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    match (ours, theirs) {
        (Ok(_), Ok(value)) => {
            let mut scanner = Scanner::new(text);
            assert_eq!(tree(&mut scanner).unwrap(), value);
            scanner.end().unwrap();
        }
        (Ok(_), Err(error)) => assert!(lenient || std::str::from_utf8(text).is_err(), "accepted against {error}"),
        (Err(error), Ok(_)) => panic!("refused: {error}"),
        (Err(error), Err(_)) => {
            assert!(error.at <= text.len(), "{error}");
            assert!(!lenient || nesting(text) > DEPTH_MAX, "refused: {error}");
        }
    }
}

fn nesting(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

#[test]
fn an_escape_in_a_name_is_seen_wherever_it_stands() {
    for before in 0..80 {
        for behind in 0..40 {
            agrees(format!("{{\"{}\\u00e9{}\":1,\"b\": 2}}", "x".repeat(before), "y".repeat(behind)).as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn valid_texts_give_the_same_tree(text in json()) {
        agrees(text.as_bytes());
        check(text.as_bytes()).unwrap();
    }

    #[test]
    fn damaged_texts_are_judged_the_same(text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        agrees(&bytes);
    }

    #[test]
    fn any_bytes_are_judged_the_same(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0019atrfne.-+E \n\x01\xc3\xa9".to_vec()), 0..40)) {
        agrees(&bytes);
    }

    #[test]
    fn quoting_undoes_itself(text in any::<String>()) {
        let mut quoted = Vec::new();
        quote(&text, &mut quoted);
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text.clone());
        prop_assert_eq!(super::text(&quoted).unwrap(), text);
    }

    #[test]
    fn a_text_in_pieces_is_the_text(units in prop::collection::vec(prop::sample::select(vec![0x41_u16, 0xe9, 0x6f22, 0xd83d, 0xde00, 0xdbff, 0xdc00]), 0..12), cut in any::<prop::sample::Index>()) {
        let escapes: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let (a, b) = escapes.split_at(cut.index(escapes.len() + 1));
        let (a, b) = (a.concat(), b.concat());
        let mut out = String::new();
        let mut unescape = Unescape::default();
        for raw in [&a, &b] {
            unescape.feed(Text { raw: raw.as_bytes(), escaped: true, at: 0 }, |piece| out.push_str(piece));
        }
        unescape.finish(|piece| out.push_str(piece));
        prop_assert_eq!(out, String::from_utf16_lossy(&units));
    }
}

#[test]
fn nesting_ends_where_serde_json_ends_it() {
    for depth in [DEPTH_MAX, DEPTH_MAX + 1] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(check(text.as_bytes()).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{depth}");
            assert_eq!(check(text.as_bytes()).is_ok(), depth == DEPTH_MAX);
        }
    }
    let deep = "[".repeat(1 << 20);
    assert_eq!(check(deep.as_bytes()).unwrap_err().at, DEPTH_MAX);
}

#[test]
fn errors_say_where_and_what() {
    let errors: Vec<String> =
        ["", "{", "{\"a\"", "{\"a\":1,}", "[1 2]", "\"a\u{1}\"", "\"\\x\"", "tru", "01", "1.", "nul!", "{1"]
            .iter()
            .map(|text| format!("{text:?}: {}", check(text.as_bytes()).unwrap_err()))
            .collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    "": not JSON at byte 0: expected a value
    "{": not JSON at byte 1: expected a key or '}'
    "{\"a\"": not JSON at byte 4: expected ':'
    "{\"a\":1,}": not JSON at byte 7: expected a key
    "[1 2]": not JSON at byte 3: expected ',' or ']'
    "\"a\u{1}\"": not JSON at byte 2: expected an escape in place of a control character
    "\"\\x\"": not JSON at byte 2: expected an escape
    "tru": not JSON at byte 3: expected true, false or null
    "01": not JSON at byte 1: expected the end of the text
    "1.": not JSON at byte 2: expected a digit
    "nul!": not JSON at byte 0: expected true, false or null
    "{1": not JSON at byte 1: expected a key or '}'
    "#);
}

#[test]
fn strings_longer_than_a_block_end_at_the_right_byte() {
    for length in 0..100 {
        for tail in ["\"", "\\n\"", "\u{1}\""] {
            let text = format!("\"{}{tail}", "x".repeat(length));
            assert_eq!(check(text.as_bytes()).is_ok(), tail != "\u{1}\"", "{length} {tail:?}");
        }
    }
}

#[test]
fn the_last_of_duplicates_counts() {
    assert_eq!(member(br#"{"a":1,"b":2,"\u0061":3}"#, "a"), Some(&b"3"[..]));
    assert_eq!(member(br#"{"a":1"#, "a"), None);
    assert_eq!(member(b"[1]", "a"), None);
}

#[test]
fn several_members_are_found_as_each_alone() {
    for object in [r#"{"a":1,"b":[2],"a":3}"#, r#"{"\u0061":1}"#, "{}", "[1]", r#"{"a":1,"b"#, ""] {
        let both = members(object.as_bytes(), ["b", "a", "c"]);
        let each = ["b", "a", "c"].map(|key| member(object.as_bytes(), key));
        assert_eq!(both, each, "{object}");
    }
}

proptest! {
    #[test]
    fn a_start_is_the_texts_own(text in "[a\"\\\\\n\u{1}é我😀]{0,60}", bytes_max in 0_usize..90, ascii: bool) {
        let mut written = Vec::new();
        quote(&text, &mut written);
        if ascii {
            let escaped = String::from_utf8(written).unwrap();
            let units = |each: char| each.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            written = escaped.chars().map(|each| if each.is_ascii() { each.to_string() } else { units(each) }).collect::<String>().into_bytes();
        }
        let whole = Scanner::new(&written).string().unwrap();
        let start = whole.start(bytes_max);
        prop_assert!(start.raw.len() <= bytes_max && whole.raw.len().min(bytes_max) < start.raw.len() + 6);
        let decoded = start.decode();
        // Half a pair may end it.
        let sure = decoded.strip_suffix('\u{FFFD}').unwrap_or(&decoded);
        prop_assert!(text.starts_with(sure), "{:?} of {:?}", decoded, text);
        prop_assert!(sure.len() == decoded.len() || ascii);
    }
}

proptest! {
    #[test]
    fn a_long_string_ends_where_it_does(
        before in 0_usize..700,
        special in prop::sample::select(vec!["\"", "\\n", "\n", "\u{1f}", "\\", "\\u00e9", "é😀", ""]),
        after in 0_usize..700,
        offset in 0_usize..9,
    ) {
        let text = format!("{}\"{}{special}{}\"", " ".repeat(offset), "a\u{7f}~".repeat(before), "b !".repeat(after));
        agrees(text.as_bytes());
    }
}

proptest! {
    #[test]
    fn names_end_where_they_do_and_counts_are_their_digits(
        name in "[a-z\\\\é]{0,40}",
        written in prop_oneof!["[0-9]{1,21}", "-?[0-9]{1,3}([.][0-9]{1,3})?(e[0-9])?", "[1-9][0-9]{17,19}([.]0)?"],
        space in "[ \n]{0,2}",
        behind in 0_usize..3,
    ) {
        let quoted = serde_json::to_string(&name).unwrap();
        let text = format!("{{{space}{quoted}{space}:{space}{written}{space}{}", ["}", ",\"b\":[1]}", ""][behind]);
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.enter_object().unwrap();
        let key = scanner.next_member().unwrap().unwrap();
        prop_assert_eq!(key.decode(), &*name);
        prop_assert_eq!(&text[key.at..key.at + key.raw.len() + 2], quoted);
        let counted = scanner.count();
        let value: Result<Value, _> = serde_json::from_str(&written);
        prop_assert_eq!(counted.is_ok() && scanner.next_member().is_ok(), value.is_ok() && behind < 2);
        let whole = written.split_once('.').map_or(&*written, |(whole, part)| if part.trim_matches('0').is_empty() { whole } else { "" });
        if let (Ok(counted), Ok(_)) = (counted, value) {
            prop_assert_eq!(counted, whole.parse::<u64>().ok());
        }
    }
}
