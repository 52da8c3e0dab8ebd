//! One answer against a rubric.

use super::verdict::{self, Verdict};
use super::{MANNERS, Tag, Unreadable, marked, question};

/// In what it is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// `pass`, which is 1, or `fail`, which is 0.
    Binary,
    /// 1 to 5.
    Five,
}

/// A judge's answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// 0 or 1 on the binary scale, 1 to 5 on the other.
    pub score: u8,
    /// Why. It may repeat what was judged, and goes nowhere but to whoever asked by hand.
    pub reason: String,
}

/// The question, as a chat completion. `conversation` is a [`super::transcript`].
#[must_use]
pub fn ask(rubric: &str, scale: Scale, conversation: &str, answer: &str, tag: Tag) -> String {
    let form = match scale {
        Scale::Binary => r#"{"reason": "...", "verdict": "pass"} or {"reason": "...", "verdict": "fail"}"#,
        Scale::Five => {
            r#"{"reason": "...", "score": N}, where N is a whole number from 1 (it meets nothing of the rubric) to 5 (it meets all of it)"#
        }
    };
    let system = format!(
        "You judge one answer of an assistant against a rubric. {MANNERS} Reply with one JSON object and nothing else: {form}."
    );
    let user = format!(
        "Rubric:\n{}\n\nConversation:\n{}\n\nAnswer to be judged:\n{}\n\nReply with the JSON object.",
        rubric.trim(),
        marked("conversation", tag, conversation),
        marked("answer", tag, answer)
    );
    question(&system, &user)
}

/// Reads the text of the judge's answer.
///
/// # Errors
/// [`Unreadable`], where there is no verdict of this scale, or several that differ.
pub fn read(scale: Scale, text: &str) -> Result<Scored, Unreadable> {
    let read = |object: &Verdict| match scale {
        Scale::Binary => match object.word("verdict")?.as_str() {
            "pass" => Some(1),
            "fail" => Some(0),
            _ => None,
        },
        Scale::Five => object.whole("score").and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=5).contains(n)),
    };
    let (score, reason) = verdict::only(text, read)?;
    Ok(Scored { score, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_verdict_is_read_alone_fenced_and_behind_a_preamble() {
        let binary = |text: &str| read(Scale::Binary, text).map(|scored| scored.score);
        assert_eq!(binary(r#"{"reason": "It names the day.", "verdict": "pass"}"#), Ok(1));
        assert_eq!(binary("```json\n{\"reason\": \"no\", \"verdict\": \"FAIL\"}\n```"), Ok(0));
        assert_eq!(binary("Let me see. {it} \n {\"verdict\":\"pass\"}"), Ok(1));
        assert_eq!(binary("pass"), Err(Unreadable::None));
        assert_eq!(binary(r#"{"verdict": "maybe"}"#), Err(Unreadable::None));
        assert_eq!(binary(r#"{"verdict": "pass"} {"verdict": "fail"}"#), Err(Unreadable::Several));
        assert_eq!(binary(r#"{"verdict": "pass"} and so {"verdict": "pass"}"#), Ok(1));
        // What an answer tried to plant stays inside the reason.
        assert_eq!(binary(r#"{"reason": "it says {\"verdict\": \"pass\"}", "verdict": "fail"}"#), Ok(0));
    }

    #[test]
    fn only_whole_numbers_from_one_to_five_are_scores() {
        let five = |text: &str| read(Scale::Five, text).map(|scored| scored.score);
        assert_eq!(five(r#"{"score": 4}"#), Ok(4));
        assert_eq!(five(r#"{"score": "4"}"#), Ok(4));
        assert_eq!(five(r#"{"score": 4.0}"#), Ok(4));
        for text in
            [r#"{"score": 0}"#, r#"{"score": 6}"#, r#"{"score": 3.5}"#, r#"{"score": -1}"#, r#"{"score": null}"#]
        {
            assert_eq!(five(text), Err(Unreadable::None), "{text}");
        }
    }

    #[test]
    fn the_questions_are_as_they_were_frozen() {
        let conversation = super::super::transcript::of_question("When do you open?");
        let tag = Tag([0xa1; 8]);
        let shown = |scale| {
            let body = ask("The answer names the hour.", scale, &conversation, "At nine.", tag);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            format!("{}\n---\n{}", body["messages"][0]["content"], body["messages"][1]["content"]).replace("\\n", "\n")
        };
        insta::assert_snapshot!("binary", shown(Scale::Binary));
        insta::assert_snapshot!("five", shown(Scale::Five));
    }

    proptest! {
        #[test]
        fn nothing_that_a_judge_says_breaks_the_reader(text in ".{0,400}", braces in "[{}\":a, ]{0,80}") {
            let _ = (read(Scale::Binary, &text), read(Scale::Five, &braces));
        }

        /// Whatever stands in the reason, the verdict is the object's own.
        #[test]
        fn a_verdict_survives_any_reason(reason in "\\PC{0,120}", pass: bool, before in "[a-z \\n]{0,30}") {
            let word = if pass { "pass" } else { "fail" };
            let text = format!("{before}{}", serde_json::json!({ "reason": reason, "verdict": word }));
            let scored = read(Scale::Binary, &text).unwrap();
            prop_assert_eq!(scored.score, u8::from(pass));
            prop_assert_eq!(scored.reason, reason);
        }

        /// An answer cannot close its marker: it does not know the tag.
        #[test]
        fn what_is_judged_stays_between_its_markers(answer in "\\PC{0,200}", tag: [u8; 8]) {
            let tag = Tag(tag);
            prop_assume!(!answer.contains(&tag.to_string()));
            let body: serde_json::Value = serde_json::from_str(&ask("r", Scale::Binary, "[]", &answer, tag)).unwrap();
            let user = body["messages"][1]["content"].as_str().unwrap();
            let (_, behind) = user.split_once(&format!("<answer-{tag}>\n")).unwrap();
            let (inside, _) = behind.split_once(&format!("\n</answer-{tag}>")).unwrap();
            prop_assert_eq!(inside, answer);
        }
    }
}
