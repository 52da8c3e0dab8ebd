//! JSON in a fence: the answer that was to be JSON wraps it as a person would read it.

/// What stands inside of the first fence (three backticks, and a word such as `json`); `None` where there is no fence, or
/// where it does not end.
pub(crate) fn inside_fence(text: &str) -> Option<&str> {
    let (_, behind) = text.split_once("```")?;
    let (_, inside) = behind.split_once('\n')?;
    inside.split_once("```").map(|(inside, _)| inside.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_a_fence_is_found() {
        for (text, inside) in [
            ("```json\n{\"a\": 1}\n```", Some("{\"a\": 1}")),
            ("Here you are:\n```\n[1]\n```\nAnything else?", Some("[1]")),
            ("{\"a\": \"```\"}", None),
            ("```json\n{\"a\":", None),
            ("{}", None),
        ] {
            assert_eq!(inside_fence(text), inside, "{text}");
        }
    }
}
