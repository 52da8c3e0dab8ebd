//! One question to a judge, and a run of its anchors: of a release, or by hand.

use crate::ports::{ProbeTrouble, Prober, Question};
use coalmine_core::judge::{Judge, Scale};
use coalmine_core::version::Version;
use coalmine_wire::judge::{Tag, pointwise, transcript};
use coalmine_wire::probe::Answer;
use std::sync::Arc;
use std::time::Duration;

/// How long a judge may take, by the wall.
const WALL_ANSWER: Duration = Duration::from_secs(60);

/// A score.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Goodness in 0..=1.
    pub value: f64,
    /// What it cost, where that is known.
    pub usd: Option<f64>,
    /// Why, in the judge's words: for whoever asks by hand, and never kept.
    pub reason: String,
}

/// There is none. The texts hold neither keys nor what was judged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// Ask again later.
    #[error("{0}")]
    Trouble(String),
    /// Mend the judge: its model or key is not known to the provider.
    #[error("{0}")]
    Refused(String),
    /// Ask once more, with another marker.
    #[error("its answer holds no verdict")]
    Unreadable {
        /// What it cost all the same.
        usd: Option<f64>,
    },
}

/// By what an answer is scored, and who scores it.
#[derive(Debug, Clone)]
pub(crate) struct Scoring<'a> {
    pub(crate) version: Arc<Version>,
    pub(crate) rubric: &'a str,
    pub(crate) scale: Scale,
    pub(crate) wall_limit: Duration,
}

/// Puts one answer to a judge. `conversation` is a `transcript`.
///
/// # Errors
/// [`Unanswered`].
pub async fn score(
    prober: &dyn Prober,
    judge: &Judge,
    conversation: &str,
    answer: &str,
    tag: impl Fn() -> [u8; 8],
) -> Result<Answered, Unanswered> {
    let version = Arc::new(judge.version.clone());
    let scoring = Scoring { version, rubric: &judge.rubric, scale: judge.scale, wall_limit: WALL_ANSWER };
    rate(prober, &scoring, conversation, answer, tag).await
}

/// The same by any rubric.
pub(crate) async fn rate(
    prober: &dyn Prober,
    scoring: &Scoring<'_>,
    conversation: &str,
    answer: &str,
    tag: impl Fn() -> [u8; 8],
) -> Result<Answered, Unanswered> {
    let scale = match scoring.scale {
        Scale::Binary => pointwise::Scale::Binary,
        Scale::Five => pointwise::Scale::Five,
    };
    let body = pointwise::ask(scoring.rubric, scale, conversation, answer, Tag(tag()));
    let question = Question { version: Arc::clone(&scoring.version), body, wall_limit: scoring.wall_limit };
    let probed = prober.ask(&question).await.map_err(|trouble| match trouble {
        ProbeTrouble::Provider(why) => Unanswered::Trouble(why),
        ProbeTrouble::Version(why) => Unanswered::Refused(why),
    })?;
    let usd = probed.cost_usd;
    let said = Answer::read(&probed.body).ok_or(Unanswered::Unreadable { usd })?;
    let scored = pointwise::read(scale, &said.text).map_err(|_| Unanswered::Unreadable { usd })?;
    let value = scoring.scale.goodness(scored.score).ok_or(Unanswered::Unreadable { usd })?;
    Ok(Answered { value, usd, reason: scored.reason })
}

/// Scores every anchor once, one after the other: how many agree with their label, and how many there are. `asked` is
/// told of every answer of the judge and what it cost.
///
/// # Errors
/// Why one could not be scored, in words: then the run says nothing.
pub async fn anchors(
    prober: &dyn Prober,
    judge: &Judge,
    tag: impl Fn() -> [u8; 8],
    asked: impl Fn(Option<f64>),
) -> Result<(u32, u32), String> {
    let (mut agreed, mut of) = (0, 0);
    for anchor in judge.anchors.iter().flat_map(|anchors| anchors.set.iter()) {
        let conversation = transcript::of_question(&anchor.question);
        let mut answered = score(prober, judge, &conversation, &anchor.answer, &tag).await;
        if let Err(Unanswered::Unreadable { usd }) = answered {
            asked(usd);
            answered = score(prober, judge, &conversation, &anchor.answer, &tag).await;
        }
        match answered {
            Ok(Answered { value, usd, .. }) => {
                asked(usd);
                of += 1;
                agreed += u32::from(judge.scale.agrees(value, anchor.label));
            }
            // An answer without a verdict agrees with no label.
            Err(Unanswered::Unreadable { usd }) => {
                asked(usd);
                of += 1;
            }
            Err(Unanswered::Trouble(why) | Unanswered::Refused(why)) => return Err(why),
        }
    }
    Ok((agreed, of))
}
