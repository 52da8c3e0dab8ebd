//! The bytes of a row of sessions.
//!
//! | what | how |
//! |---|---|
//! | form | one byte, [`FORM`] |
//! | each session | unit (16 bytes), two bytes of signs, then what the signs say is there |
//!
//! Numbers are LEB128, times differences in zigzag: the first from the session before, the others from the session's own
//! exposure. A metric is named once in a row, and by its place from then on. A sum of 0 or 1 is two bits, another one
//! eight bytes, so that it comes back to the last bit. A row of a build of before is text: `UNIT DOCUMENT` for a
//! session, `UNIT` for one that is forgotten.

use crate::StoreError;
use crate::rows::decode;
use coalmine_core::evidence::{Beyond, ByMetric, FirstSeen, Half, LastSeen, Session, Sums, Went};
use coalmine_core::id::UnitKey;
use coalmine_core::metric::Metric;
use coalmine_core::origin::Slice;
use coalmine_core::tally::Presence;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Arm, Stratum};
use std::collections::{BTreeMap, BTreeSet};

/// The form that this build writes. No text begins with it.
const FORM: u8 = 2;
/// Hexadecimal digits of a unit.
const UNIT_DIGITS: usize = 32;

/// What else there is, in the second byte of signs; the lowest two bits are the half.
const WENT_WRONG: u8 = 1 << 2;
const HAS_STRATUM: u8 = 1 << 3;
const HAS_SLICE: u8 = 1 << 4;
const HAS_SCORED: u8 = 1 << 5;
const HAS_BEYOND: u8 = 1 << 6;
const HAS_OPENINGS: u8 = 1 << 7;

/// A row as it is made.
#[derive(Debug, Default)]
pub(super) struct Row {
    bytes: Vec<u8>,
    metrics: Vec<Metric>,
    exposed_at: u64,
    exposed_to: u64,
}

impl Row {
    /// A row that is about this long.
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The latest exposure in it.
    pub(super) fn exposed_to(&self) -> UnixMs {
        UnixMs(self.exposed_to)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.metrics.clear();
        (self.exposed_at, self.exposed_to) = (0, 0);
    }

    pub(super) fn push(&mut self, unit: UnitKey, session: &Session) {
        // A field that is added is one that has to be written: arm and half the rest is in the signs.
        let Session { arm: _, stratum, exposed_at, requests, sums, first_seen, owed, scored, beyond, openings, last } =
            session;
        if self.bytes.is_empty() {
            self.bytes.push(FORM);
        }
        self.bytes.extend_from_slice(&unit.0.to_le_bytes());
        self.signs(session);
        self.difference(exposed_at.0, self.exposed_at);
        self.exposed_at = exposed_at.0;
        self.exposed_to = self.exposed_to.max(exposed_at.0);
        if stratum.0 != 0 {
            self.number(u64::from(stratum.0));
        }
        self.number(*requests);
        self.number(u64::from(*owed));
        let FirstSeen { started_at, tools: _, schema: _, slice, half: _ } = first_seen;
        if let Some(started_at) = started_at {
            self.difference(started_at.0, exposed_at.0);
        }
        if !slice.is_rest() {
            self.bytes.push(slice.0);
        }
        if let Some(LastSeen { started_at, went: _ }) = last {
            self.difference(started_at.0, exposed_at.0);
        }
        self.number(sums.iter().count() as u64);
        for (metric, sums) in sums.iter() {
            self.metric(metric);
            self.sums(sums);
        }
        self.rare(scored, beyond, openings);
    }

    /// Arm, what is known of the first request, whether there is a last; and what else follows.
    fn signs(&mut self, session: &Session) {
        let arm = match session.arm {
            Arm::Stable => 0,
            Arm::Control => 1,
            Arm::Canary => 2,
        };
        let seen = &session.first_seen;
        let first = arm
            | u8::from(seen.started_at.is_some()) << 2
            | presence(seen.tools) << 3
            | presence(seen.schema) << 5
            | u8::from(session.last.is_some()) << 7;
        let half = match seen.half {
            None => 0,
            Some(Half::One) => 1,
            Some(Half::Other) => 2,
        };
        let wrong = session.last.is_some_and(|last| last.went == Went::Wrong);
        let also = |there: bool, sign: u8| if there { sign } else { 0 };
        let second = half
            | also(wrong, WENT_WRONG)
            | also(session.stratum.0 != 0, HAS_STRATUM)
            | also(!seen.slice.is_rest(), HAS_SLICE)
            | also(!session.scored.is_empty(), HAS_SCORED)
            | also(!session.beyond.is_empty(), HAS_BEYOND)
            | also(!session.openings.is_empty(), HAS_OPENINGS);
        self.bytes.extend_from_slice(&[first, second]);
    }

    fn rare(&mut self, scored: &BTreeSet<u64>, beyond: &ByMetric<Beyond>, openings: &[u64]) {
        if !scored.is_empty() {
            self.number(scored.len() as u64);
            scored.iter().for_each(|key| self.bytes.extend_from_slice(&key.to_le_bytes()));
        }
        if !beyond.is_empty() {
            self.number(beyond.iter().count() as u64);
            for (metric, Beyond { rollback, limit }) in beyond.iter() {
                self.metric(metric);
                self.bytes.push(u8::from(rollback.is_some()) | u8::from(limit.is_some()) << 1);
                rollback.iter().chain(limit).for_each(|sums| self.sums(sums));
            }
        }
        if !openings.is_empty() {
            self.number(openings.len() as u64);
            openings.iter().for_each(|key| self.bytes.extend_from_slice(&key.to_le_bytes()));
        }
    }

    fn number(&mut self, mut number: u64) {
        while number > 127 {
            self.bytes.push(number as u8 | 128);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn difference(&mut self, number: u64, from: u64) {
        let signed = number.wrapping_sub(from).cast_signed();
        self.number((signed << 1 ^ signed >> 63).cast_unsigned());
    }

    fn metric(&mut self, metric: &Metric) {
        let known = self.metrics.iter().position(|known| known == metric);
        self.number(known.unwrap_or(self.metrics.len()) as u64);
        if known.is_none() {
            let name = metric.to_string();
            self.number(name.len() as u64);
            self.bytes.extend_from_slice(name.as_bytes());
            self.metrics.push(metric.clone());
        }
    }

    fn sums(&mut self, sums: &Sums) {
        let Sums { first, session, session_n, session_unknown, whole, whole_n } = sums;
        let rare = *session_unknown != 0 || *whole_n != 0;
        let signs = first.map_or(NONE, short)
            | short(*session) << 2
            | short(*whole) << 4
            | u8::from(*session_n != 0) << 6
            | u8::from(rare) << 7;
        self.bytes.push(signs);
        for value in first.iter().chain([session, whole]).filter(|value| short(**value) == LONG) {
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        if *session_n != 0 {
            self.number(u64::from(*session_n));
        }
        if rare {
            self.number(u64::from(*session_unknown));
            self.number(u64::from(*whole_n));
        }
    }
}

const ZERO: u8 = 0;
const ONE: u8 = 1;
const LONG: u8 = 2;
const NONE: u8 = 3;

/// How a number is written.
fn short(value: f64) -> u8 {
    match value.to_bits() {
        0 => ZERO,
        bits if bits == 1.0_f64.to_bits() => ONE,
        _ => LONG,
    }
}

fn presence(known: Option<Presence>) -> u8 {
    match known {
        None => 0,
        Some(Presence::Absent) => 1,
        Some(Presence::Present) => 2,
    }
}

/// Lays the sessions of a row over those of the rows before it.
pub(super) fn lay(row: &[u8], over: &mut BTreeMap<UnitKey, Session>) -> Result<(), StoreError> {
    match row.split_first() {
        Some((&FORM, rest)) => {
            let mut reader = Reader { rest, metrics: Vec::new(), exposed_at: 0 };
            while !reader.rest.is_empty() {
                let (unit, session) =
                    reader.session().ok_or_else(|| torn("that breaks off or holds what cannot be"))?;
                over.insert(unit, session);
            }
            Ok(())
        }
        Some((first, _)) if first.is_ascii_hexdigit() => text(row, over),
        Some((form, _)) => {
            Err(torn(&format!("of form {form}, and this build reads form {FORM}; install the build that wrote it")))
        }
        None => Err(torn("without a byte")),
    }
}

/// A row of a build of before.
fn text(row: &[u8], over: &mut BTreeMap<UnitKey, Session>) -> Result<(), StoreError> {
    let text = str::from_utf8(row).map_err(|_| torn("that is no text"))?;
    for line in text.lines() {
        let begins = || torn(&format!("that names no unit (`{}`)", line.chars().take(UNIT_DIGITS).collect::<String>()));
        let (unit, document) = line.split_at_checked(UNIT_DIGITS).ok_or_else(begins)?;
        let unit = UnitKey(u128::from_str_radix(unit, 16).map_err(|_| begins())?);
        match document.strip_prefix(' ') {
            Some(document) => drop(over.insert(unit, decode(document)?)),
            None if document.is_empty() => drop(over.remove(&unit)),
            None => return Err(begins()),
        }
    }
    Ok(())
}

fn torn(how: &str) -> StoreError {
    StoreError::Corrupt { what: format!("a row of sessions {how}") }
}

/// What is left of a row.
struct Reader<'a> {
    rest: &'a [u8],
    metrics: Vec<Metric>,
    exposed_at: u64,
}

impl Reader<'_> {
    fn session(&mut self) -> Option<(UnitKey, Session)> {
        let unit = UnitKey(u128::from_le_bytes(self.bytes()?));
        let [first, second] = self.bytes()?;
        let has = |sign: u8| second & sign != 0;
        let exposed_at = self.difference(self.exposed_at)?;
        self.exposed_at = exposed_at;
        let stratum = if has(HAS_STRATUM) { u16::try_from(self.number()?).ok()? } else { 0 };
        let (requests, owed) = (self.number()?, self.count()?);
        let started_at = if first & 1 << 2 == 0 { None } else { Some(UnixMs(self.difference(exposed_at)?)) };
        let slice = if has(HAS_SLICE) { Slice(u8::from_le_bytes(self.bytes()?)) } else { Slice::REST };
        let went = if has(WENT_WRONG) { Went::Wrong } else { Went::Well };
        let last = if first & 1 << 7 == 0 { None } else { Some(UnixMs(self.difference(exposed_at)?)) };
        let half = [None, Some(Half::One), Some(Half::Other)];
        let first_seen = FirstSeen {
            started_at,
            tools: present(first >> 3)?,
            schema: present(first >> 5)?,
            slice,
            half: *half.get(usize::from(second & 3))?,
        };
        let session = Session {
            arm: *[Arm::Stable, Arm::Control, Arm::Canary].get(usize::from(first & 3))?,
            stratum: Stratum(stratum),
            exposed_at: UnixMs(exposed_at),
            requests,
            sums: self.by_metric(Self::sums)?,
            first_seen,
            owed,
            scored: if has(HAS_SCORED) { self.keys()?.into_iter().collect() } else { BTreeSet::new() },
            beyond: if has(HAS_BEYOND) { self.by_metric(Self::beyond)? } else { ByMetric::default() },
            openings: if has(HAS_OPENINGS) { self.keys()? } else { Vec::new() },
            last: last.map(|started_at| LastSeen { started_at, went }),
        };
        Some((unit, session))
    }

    fn by_metric<V: Default>(&mut self, value: fn(&mut Self) -> Option<V>) -> Option<ByMetric<V>> {
        let mut all = ByMetric::default();
        for _ in 0..self.number()? {
            let metric = self.metric()?;
            *all.get_or_default(&metric) = value(self)?;
        }
        Some(all)
    }

    fn sums(&mut self) -> Option<Sums> {
        let [signs] = self.bytes()?;
        let first = if signs & 3 == NONE { None } else { Some(self.value(signs)?) };
        let (session, whole) = (self.value(signs >> 2)?, self.value(signs >> 4)?);
        let session_n = if signs & 1 << 6 == 0 { 0 } else { self.count()? };
        let (session_unknown, whole_n) = if signs & 1 << 7 == 0 { (0, 0) } else { (self.count()?, self.count()?) };
        Some(Sums { first, session, session_n, session_unknown, whole, whole_n })
    }

    fn beyond(&mut self) -> Option<Beyond> {
        let [signs] = self.bytes()?;
        let rollback = if signs & 1 == 0 { None } else { Some(self.sums()?) };
        let limit = if signs & 2 == 0 { None } else { Some(self.sums()?) };
        Some(Beyond { rollback, limit })
    }

    fn value(&mut self, signs: u8) -> Option<f64> {
        match signs & 3 {
            ZERO => Some(0.0),
            ONE => Some(1.0),
            LONG => Some(f64::from_bits(u64::from_le_bytes(self.bytes()?))),
            _ => None,
        }
    }

    fn metric(&mut self) -> Option<Metric> {
        let place = usize::try_from(self.number()?).ok()?;
        if place == self.metrics.len() {
            let length = usize::try_from(self.number()?).ok()?;
            let (name, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            self.metrics.push(str::from_utf8(name).ok()?.parse().ok()?);
        }
        self.metrics.get(place).cloned()
    }

    fn keys(&mut self) -> Option<Vec<u64>> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= self.rest.len() / 8)?;
        (0..length).map(|_| self.bytes().map(u64::from_le_bytes)).collect()
    }

    fn count(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let [byte] = self.bytes()?;
            let part = u64::from(byte & 127);
            number |= part << (7 * place);
            if byte & 128 == 0 {
                return (place < 9 || part < 2).then_some(number);
            }
        }
        None
    }

    fn difference(&mut self, from: u64) -> Option<u64> {
        let number = self.number()?;
        Some(from.wrapping_add(number >> 1 ^ (number & 1).wrapping_neg()))
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }
}

fn present(signs: u8) -> Option<Option<Presence>> {
    [None, Some(Presence::Absent), Some(Presence::Present)].get(usize::from(signs & 3)).copied()
}

#[cfg(test)]
mod tests;
