//! Announced ends of the models that versions ask for, told wherever a version is looked at.

use super::paint::{Paint, Tone};
use coalmine_core::forecast::{Hazard, Severity};
use coalmine_core::time::UnixMs;
use coalmine_wire::shutdowns::{READ_ON, of};
use std::time::SystemTime;

/// An end that is farther away is not told.
const SOON_DAYS: u64 = 180;
const DAY_MS: u64 = 86_400_000;

/// The machine's day, since 1970.
#[must_use]
pub fn today() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)).0 / DAY_MS
}

/// What is to be said of a model on that day: nothing where its end is not known, or far.
#[must_use]
pub fn warning(model: &str, today: u64) -> Option<String> {
    let end = of(model)?;
    let when = match end.day.checked_sub(today) {
        None => format!("was to be shut down by {} on {}", end.maker, end.date),
        Some(0) => format!("is shut down by {} today, {}", end.maker, end.date),
        Some(days) if days <= SOON_DAYS => format!("is shut down by {} on {}, in {days} days", end.maker, end.date),
        Some(_) => return None,
    };
    Some(format!("{} {when} (announced; read on {READ_ON})", end.model))
}

/// Lines for people, each model once under whose it is.
#[must_use]
pub fn told<'a>(models: impl IntoIterator<Item = (String, &'a str)>, today: u64, paint: Paint) -> String {
    let line = |(whose, model): (String, &str)| {
        let what = warning(model, today)?;
        Some(format!("{} {whose}: {what}\n", paint.tone(Tone::Warn, "mind")))
    };
    models.into_iter().filter_map(line).collect()
}

/// The same as hazards of a plan, by the keys of the release file.
#[must_use]
pub fn hazards<'a>(models: impl IntoIterator<Item = (String, &'a str)>, today: u64) -> Vec<Hazard> {
    let hazard = |(key, model): (String, &str)| {
        let what = warning(model, today)?;
        let mend = "name a model that stays, or promote its successor before that day".to_owned();
        Some(Hazard { severity: Severity::Warning, key, what, mend })
    };
    models.into_iter().filter_map(hazard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_when_it_is_near_and_when_it_is_over() {
        let end = of("gpt-5").unwrap().day;
        assert_eq!(warning("gpt-5", end - 181), None);
        assert!(warning("gpt-5", end - 12).unwrap().contains("by OpenAI on 2026-12-11, in 12 days"));
        assert!(warning("gpt-5", end).unwrap().contains("today"));
        assert!(warning("openai/gpt-5", end + 1).unwrap().contains("was to be shut down"));
        assert_eq!(warning("m-of-ours", end), None);
        let models = [("canary.model".to_owned(), "gpt-5"), ("judge".to_owned(), "m-of-ours")];
        let lines = told(models.clone(), end - 12, Paint::Plain);
        assert_eq!((lines.lines().count(), hazards(models, end).len()), (1, 1), "{lines}");
    }
}
