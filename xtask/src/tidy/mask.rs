//! Rust text without the content of strings and comments, line for line and column for column, so
//! that rules look at code alone.

/// The text with strings, characters and comments blanked.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = chars.clone();
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if next(&chars, at) == Some('/') => line_end(&chars, at),
            '/' if next(&chars, at) == Some('*') => block_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !inside_word(&chars, at) => match raw_end(&chars, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            '\'' => match char_end(&chars, at) {
                Some(end) => end,
                // A lifetime.
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for c in out.iter_mut().take(end.min(chars.len())).skip(at).filter(|c| **c != '\n') {
            *c = ' ';
        }
        at = end.max(at + 1);
    }
    out.into_iter().collect()
}

fn next(chars: &[char], at: usize) -> Option<char> {
    chars.get(at + 1).copied()
}

fn inside_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

/// Block comments nest.
fn block_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < chars.len() {
        match (chars[at], next(chars, at)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `c"…"`; `None` where no string begins.
fn raw_end(chars: &[char], from: usize) -> Option<usize> {
    let mut at = from;
    while matches!(chars.get(at), Some('b' | 'c')) && at == from {
        at += 1;
    }
    if chars.get(at) == Some(&'"') && at > from {
        return Some(string_end(chars, at));
    }
    if chars.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = (at..chars.len()).take_while(|i| chars[*i] == '#').count();
    at += hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
    Some((at + 1..chars.len()).find(|i| closes(*i)).map_or(chars.len(), |i| i + 1 + hashes))
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(chars: &[char], from: usize) -> Option<usize> {
    match next(chars, from)? {
        '\\' => (from + 3..chars.len().min(from + 14)).find(|i| chars[*i] == '\'').map(|i| i + 1),
        _ => (chars.get(from + 2) == Some(&'\'')).then_some(from + 3),
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn strings_comments_and_characters_are_blank_and_places_stay() {
        let text = "let a = \"{\\\"\"; // {\nlet b = '{'; /* { /* { */ */ fn x<'a>() {}\nr#\"{\"#; br\"{\"; '\\''; '\\u{7b}' {";
        let masked = code(text);
        assert_eq!(masked.matches('{').count(), 2);
        assert_eq!(masked.lines().count(), 3);
        assert_eq!(masked.chars().count(), text.chars().count());
        assert!(masked.contains("fn x<'a>() {}"));
    }

    #[test]
    fn unfinished_text_ends_quietly() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'", "b'", "'\\", "r#", "\"\\"] {
            assert_eq!(code(text).chars().count(), text.chars().count(), "{text}");
        }
    }
}
