//! What is a letter, and which is its lower case, told at once for the scripts that most is written in: the tables of
//! Unicode are searched, which is a hundred instructions for a sign.

/// Whether a sign is a letter: of the most written scripts it is known, of the others it is looked up.
#[inline]
pub(super) fn is_letter(sign: char) -> bool {
    known(sign).unwrap_or_else(|| sign.is_alphabetic())
}

/// Whether a sign is a letter or a number.
#[inline]
pub(super) fn is_word_sign(sign: char) -> bool {
    known(sign).unwrap_or_else(|| sign.is_alphanumeric())
}

/// Whether it is a letter, where that is known; it is no number then.
#[inline]
fn known(sign: char) -> Option<bool> {
    match sign {
        'a'..='z' | 'A'..='Z' => Some(true),
        ' '..='/' | '\u{D7}' | '\u{F7}' | '、' | '。' | '「' | '」' | '，' | '！' | '：' | '；' | '？' => {
            Some(false)
        }
        '\u{C0}'..='\u{24F}' | '\u{400}'..='\u{481}' | '\u{48A}'..='\u{52F}' => Some(true),
        '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}'..='\u{30FE}' => Some(true),
        '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' => Some(true),
        _ => None,
    }
}

/// Hands out the lower case of a sign: one sign, and of few more.
#[inline]
pub(super) fn in_lower_case(sign: char, mut out: impl FnMut(char)) {
    match sign {
        '\0'..='\u{7F}' => out(sign.to_ascii_lowercase()),
        '\u{D7}' | '\u{DF}'..='\u{FF}' | '\u{430}'..='\u{45F}' => out(sign),
        '\u{C0}'..='\u{DE}' | '\u{410}'..='\u{42F}' => {
            out(char::from_u32(u32::from(sign) + 0x20).unwrap_or(sign));
        }
        '\u{3000}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' => out(sign),
        _ => sign.to_lowercase().for_each(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_unicode_says() {
        for sign in '\0'..=char::MAX {
            assert_eq!(is_letter(sign), sign.is_alphabetic(), "{sign:?}");
            assert_eq!(is_word_sign(sign), sign.is_alphanumeric(), "{sign:?}");
            let mut lower = String::new();
            in_lower_case(sign, |each| lower.push(each));
            assert_eq!(lower, sign.to_lowercase().to_string(), "{sign:?}");
        }
    }
}
