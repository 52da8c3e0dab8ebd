//! One question to a judge, and a run of its anchors: of a release, or by hand.

use crate::ports::{ProbeTrouble, Prober, Question};
use coalmine_core::judge::{Judge, Scale};
use coalmine_core::version::Version;
use coalmine_wire::judge::{Preference, Side, Tag, pairwise, pointwise, transcript};
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

/// Puts two answers to a judge of pairs, in both orders: the goodness of `one` against `other`, ½ where the judge went
/// by the place. `asked` is told of every answer of the judge and what it cost.
///
/// # Errors
/// [`Unanswered`]; what an unreadable answer cost was told already.
pub async fn compare(
    prober: &dyn Prober,
    judge: &Judge,
    conversation: &str,
    (one, other): (&str, &str),
    tag: impl Fn() -> [u8; 8],
    asked: impl Fn(Option<f64>),
) -> Result<Answered, Unanswered> {
    let straight = prefer(prober, judge, conversation, (one, other), Tag(tag()), &asked).await?;
    let swapped = prefer(prober, judge, conversation, (other, one), Tag(tag()), &asked).await?;
    let value = Preference::of(straight.0, swapped.0).badness_of_other();
    Ok(Answered { value, usd: None, reason: format!("{} / {}", straight.1, swapped.1) })
}

/// One order.
async fn prefer(
    prober: &dyn Prober,
    judge: &Judge,
    conversation: &str,
    (first, second): (&str, &str),
    tag: Tag,
    asked: impl Fn(Option<f64>),
) -> Result<(Side, String), Unanswered> {
    let body = pairwise::ask(&judge.rubric, conversation, first, second, tag);
    let question = Question { version: Arc::new(judge.version.clone()), body, wall_limit: WALL_ANSWER };
    let probed = prober.ask(&question).await.map_err(trouble)?;
    asked(probed.cost_usd);
    let unreadable = || Unanswered::Unreadable { usd: None };
    let said = Answer::read(&probed.body).ok_or_else(unreadable)?;
    pairwise::read(&said.text).map_err(|_| unreadable())
}

fn trouble(trouble: ProbeTrouble) -> Unanswered {
    match trouble {
        ProbeTrouble::Provider(why) => Unanswered::Trouble(why),
        ProbeTrouble::Version(why) => Unanswered::Refused(why),
    }
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
        Scale::Pairs => return Err(Unanswered::Refused("a judge of pairs scores no answer by itself".to_owned())),
    };
    let body = pointwise::ask(scoring.rubric, scale, conversation, answer, Tag(tag()));
    let question = Question { version: Arc::clone(&scoring.version), body, wall_limit: scoring.wall_limit };
    let probed = prober.ask(&question).await.map_err(trouble)?;
    let usd = probed.cost_usd;
    let said = Answer::read(&probed.body).ok_or(Unanswered::Unreadable { usd })?;
    let scored = pointwise::read(scale, &said.text).map_err(|_| Unanswered::Unreadable { usd })?;
    let value = scoring.scale.goodness(scored.score).ok_or(Unanswered::Unreadable { usd })?;
    Ok(Answered { value, usd, reason: scored.reason })
}

/// An answer and what was said before it.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// A `transcript`.
    pub conversation: &'a str,
    /// The answer.
    pub answer: &'a str,
}

/// Puts an answer to a judge by its scale: by itself, or against another. `asked` is told of every answer of the judge and
/// what it cost.
///
/// # Errors
/// [`Unanswered`]; what an unreadable answer cost was told already.
pub async fn rated(
    prober: &dyn Prober,
    judge: &Judge,
    said: Said<'_>,
    other: Option<&str>,
    tag: impl Fn() -> [u8; 8],
    asked: impl Fn(Option<f64>),
) -> Result<Answered, Unanswered> {
    let Said { conversation, answer } = said;
    match (judge.scale, other) {
        (Scale::Pairs, Some(other)) => compare(prober, judge, conversation, (answer, other), tag, asked).await,
        (Scale::Pairs, None) => Err(Unanswered::Refused("a judge of pairs reads two answers".to_owned())),
        (Scale::Binary | Scale::Five, _) => {
            let answered = score(prober, judge, conversation, answer, tag).await;
            if let Ok(Answered { usd, .. }) | Err(Unanswered::Unreadable { usd }) = &answered {
                asked(*usd);
            }
            answered
        }
    }
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
        let said = Said { conversation: &transcript::of_question(&anchor.question), answer: &anchor.answer };
        let other = anchor.other.as_deref();
        let mut answered = rated(prober, judge, said, other, &tag, &asked).await;
        if let Err(Unanswered::Unreadable { .. }) = answered {
            answered = rated(prober, judge, said, other, &tag, &asked).await;
        }
        match answered {
            Ok(Answered { value, .. }) => {
                of += 1;
                agreed += u32::from(judge.scale.agrees(value, anchor.label));
            }
            // An answer without a verdict agrees with no label.
            Err(Unanswered::Unreadable { .. }) => of += 1,
            Err(Unanswered::Trouble(why) | Unanswered::Refused(why)) => return Err(why),
        }
    }
    Ok((agreed, of))
}
