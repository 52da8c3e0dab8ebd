//! When providers have said that models end: shipped data with its day and its sources, in `shutdowns.tsv`. It is not
//! asked for over the network, and may be behind what a provider says today.

use std::sync::OnceLock;

/// The day on which the data was read.
pub const READ_ON: &str = "2026-11-29";

const DATA: &str = include_str!("shutdowns.tsv");

/// The announced end of a model on its maker's own API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Who makes it.
    pub maker: &'static str,
    /// The maker's own name of it.
    pub model: &'static str,
    /// `YYYY-MM-DD`.
    pub date: &'static str,
    /// Days since 1970 of the date.
    pub day: u64,
}

/// All that are known.
pub fn all() -> &'static [Shutdown] {
    static ALL: OnceLock<Vec<Shutdown>> = OnceLock::new();
    ALL.get_or_init(|| DATA.lines().filter(|line| !line.starts_with('#')).filter_map(read).collect())
}

/// The end of a model, by the name that a version asks for; a region or a vendor before it does not matter.
#[must_use]
pub fn of(model: &str) -> Option<Shutdown> {
    let own = model.rsplit('/').next().unwrap_or(model);
    all().iter().find(|shutdown| shutdown.model == own).copied()
}

fn read(line: &'static str) -> Option<Shutdown> {
    let mut parts = line.split('\t');
    let (maker, model, date) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Shutdown { maker, model, date, day: day(date)? })
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn day(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_line_is_read_once_and_names_a_source() {
        let lines: Vec<&str> = DATA.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(all().len(), lines.len());
        let models: BTreeSet<&str> = all().iter().map(|one| one.model).collect();
        assert_eq!(models.len(), lines.len());
        for line in lines {
            let source = line.rsplit('\t').next().unwrap();
            assert!(DATA.contains(&format!("\n# {source}: ")), "{line}");
        }
        assert!(DATA.starts_with("# ") && DATA.lines().next().unwrap().contains(READ_ON));
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!((day("1970-01-01"), day("1970-03-01"), day("2000-02-29")), (Some(0), Some(59), Some(11_016)));
        assert_eq!(day("2026-12-11"), Some(20_798));
        assert_eq!((day("2026-13-01"), day("soon"), day("1969-12-31")), (None, None, None));
        assert_eq!(of("eu/gpt-5").map(|one| (one.maker, one.date)), Some(("OpenAI", "2026-12-11")));
        assert_eq!(of("gpt-unheard-of"), None);
    }
}
