//! Two answers to the same conversation. A judge leans to a place, so it is asked twice with the places swapped, and a
//! preference counts only where both times the same answer wins; else it is a tie.
//!
//! Source of the swap: Zheng and others, "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena" (2023).

use super::verdict::{self, Verdict};
use super::{MANNERS, Tag, Unreadable, marked, question};

/// What a judge says of two answers by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that stood first is better.
    First,
    /// The one that stood second is.
    Second,
    /// Neither is.
    Tie,
}

/// Which of two answers is better, whatever their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// The one.
    One,
    /// The other.
    Other,
    /// Neither, or the judge went by the place.
    Tie,
}

/// The question, as a chat completion. `conversation` is a [`super::transcript`].
#[must_use]
pub fn ask(rubric: &str, conversation: &str, first: &str, second: &str, tag: Tag) -> String {
    let system = format!(
        "You compare two answers of assistants to the same conversation by a rubric. {MANNERS} Their order says nothing. Reply \
         with one JSON object and nothing else: {}.",
        r#"{"reason": "...", "verdict": "first"}, or "second", or "tie""#
    );
    let user = format!(
        "Rubric:\n{}\n\nConversation:\n{}\n\nFirst answer:\n{}\n\nSecond answer:\n{}\n\nReply with the JSON object.",
        rubric.trim(),
        marked("conversation", tag, conversation),
        marked("first", tag, first),
        marked("second", tag, second)
    );
    question(&system, &user)
}

/// Reads the text of the judge's answer: the better side, and why. The reason may repeat what was judged, and goes nowhere
/// but to whoever asked by hand.
///
/// # Errors
/// [`Unreadable`], where there is no verdict, or several that differ.
pub fn read(text: &str) -> Result<(Side, String), Unreadable> {
    let read = |object: &Verdict| match object.word("verdict")?.as_str() {
        "first" => Some(Side::First),
        "second" => Some(Side::Second),
        "tie" => Some(Side::Tie),
        _ => None,
    };
    verdict::only(text, read)
}

impl Preference {
    /// From both orders: `straight` had the one first, `swapped` the other.
    #[must_use]
    pub const fn of(straight: Side, swapped: Side) -> Self {
        match (straight, swapped) {
            (Side::First, Side::Second) => Self::One,
            (Side::Second, Side::First) => Self::Other,
            (Side::First | Side::Second | Side::Tie, _) => Self::Tie,
        }
    }

    /// The badness of the other answer against the one, for a paired test: 1 where it is worse, 0 where it is better.
    #[must_use]
    pub const fn badness_of_other(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Other => 0.0,
            Self::Tie => 0.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_preference_that_outlives_the_swap_counts() {
        for (straight, swapped, preference) in [
            (Side::First, Side::Second, Preference::One),
            (Side::Second, Side::First, Preference::Other),
            // Always the first place, always the second, and half a mind.
            (Side::First, Side::First, Preference::Tie),
            (Side::Second, Side::Second, Preference::Tie),
            (Side::First, Side::Tie, Preference::Tie),
            (Side::Tie, Side::Second, Preference::Tie),
        ] {
            assert_eq!(Preference::of(straight, swapped), preference, "{straight:?} {swapped:?}");
        }
        assert_eq!(Preference::One.badness_of_other(), 1.0);
    }

    #[test]
    fn a_side_is_read_as_a_verdict_is() {
        assert_eq!(read(r#"{"reason": "shorter", "verdict": "Second"}"#), Ok((Side::Second, "shorter".to_owned())));
        assert_eq!(read(r#"{"verdict": "both"}"#), Err(Unreadable::None));
        assert_eq!(read(r#"{"verdict": "tie"} {"verdict": "first"}"#), Err(Unreadable::Several));
    }

    #[test]
    fn the_question_is_as_it_was_frozen() {
        let body = ask("The answer names the hour.", "[]", "At nine.", "Soon.", Tag([0xb2; 8]));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let shown = format!("{}\n---\n{}", body["messages"][0]["content"], body["messages"][1]["content"]);
        insta::assert_snapshot!(shown.replace("\\n", "\n"));
    }
}
