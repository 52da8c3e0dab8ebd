//! Typed access to a section that was checked: what is malformed was said, and is absent here.

use crate::config::check::fits;
use crate::config::fault::{self, At, Complaint, Fault, dot, index};
use crate::config::key::{Kind, Need, Section};
use crate::config::scalar::{self, Bound, Tolerance};
use crate::config::tree::{Entry, Node, Value};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use std::cell::RefCell;

/// What one file's readers share: the faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    faults: RefCell<Vec<Fault>>,
}

/// The keys of one mapping.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'r> {
    pub(crate) reading: &'r Reading,
    pub(crate) section: &'static Section,
    pub(crate) path: String,
    pub(crate) at: At,
    entries: &'r [Entry],
}

/// A single value in its place.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: At,
    pub(crate) path: String,
}

impl Reading {
    /// Adds faults.
    pub(crate) fn extend(&self, faults: Vec<Fault>) {
        let mut told = self.faults.borrow_mut();
        faults.into_iter().for_each(|fault| fault::add(&mut told, fault));
    }

    /// Adds a fault.
    pub(crate) fn fault(&self, at: At, key: &str, complaint: Complaint, nearest: Option<String>) {
        let Complaint { what, mend } = complaint;
        fault::add(&mut self.faults.borrow_mut(), Fault { at, key: key.to_owned(), what, nearest, mend });
    }

    /// Whether something is told of this key already, of one above it or of one below.
    pub(crate) fn is_told(&self, key: &str) -> bool {
        let below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.faults.borrow().iter().any(|fault| below(&fault.key, key) || below(key, &fault.key))
    }

    /// Everything found.
    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    /// The keys of `node`, if it is a mapping.
    pub(crate) fn fields<'r>(&'r self, section: &'static Section, path: &str, node: &'r Node) -> Option<Fields<'r>> {
        match &node.value {
            Value::Map(entries) => Some(Fields { reading: self, section, path: path.to_owned(), at: node.at, entries }),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }
}

impl<'r> Fields<'r> {
    /// The value under `name`, if it stands.
    pub(crate) fn node(&self, name: &'static str) -> Option<Placed<&'r Node>> {
        #[cfg(test)]
        asked::note(self.section, name);
        debug_assert!(self.section.key(name).is_some(), "{name} is in the table of {}", self.section.name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(Placed { value: &entry.value, at: entry.value.at, path: dot(&self.path, name) })
    }

    /// The place that an absent key is told of: that of the mapping.
    pub(crate) fn place(&self, name: &'static str) -> (At, String) {
        self.node(name).map_or_else(|| (self.at, dot(&self.path, name)), |node| (node.at, node.path))
    }

    /// Adds a fault at a key.
    pub(crate) fn fault(&self, name: &'static str, complaint: Complaint, nearest: Option<String>) {
        let (at, path) = self.place(name);
        self.reading.fault(at, &path, complaint, nearest);
    }

    /// The single value under `name`, or its default.
    pub(crate) fn text(&self, name: &'static str) -> Option<Placed<&'r str>> {
        if let Some(node) = self.node(name) {
            return scalar_text(node);
        }
        match self.section.key(name)?.need {
            Need::Default(text) => Some(Placed { value: text, at: self.at, path: dot(&self.path, name) }),
            Need::Required | Need::Optional | Need::NotBuilt(_) => None,
        }
    }

    fn scalar<T>(&self, name: &'static str, read: impl FnOnce(&'r str) -> Result<T, Complaint>) -> Option<T> {
        read(self.text(name)?.value).ok()
    }

    pub(crate) fn duration(&self, name: &'static str) -> Option<SpanMs> {
        self.scalar(name, scalar::duration)
    }

    pub(crate) fn share(&self, name: &'static str) -> Option<WeightBp> {
        self.scalar(name, scalar::share)
    }

    pub(crate) fn margin(&self, name: &'static str) -> Option<Tolerance> {
        self.scalar(name, scalar::margin)
    }

    pub(crate) fn bound(&self, name: &'static str) -> Option<Bound> {
        self.scalar(name, scalar::bound)
    }

    pub(crate) fn money(&self, name: &'static str) -> Option<f64> {
        self.scalar(name, scalar::money)
    }

    pub(crate) fn number(&self, name: &'static str) -> Option<f64> {
        self.scalar(name, scalar::number)
    }

    pub(crate) fn per_minute(&self, name: &'static str) -> Option<f64> {
        self.scalar(name, scalar::per_minute)
    }

    pub(crate) fn integer(&self, name: &'static str) -> Option<u64> {
        self.scalar(name, |text| scalar::integer(text, 0))
    }

    pub(crate) fn switch(&self, name: &'static str) -> Option<bool> {
        self.scalar(name, scalar::switch)
    }

    /// The mapping under `name`, or one without entries where it does not stand.
    pub(crate) fn section(&self, name: &'static str) -> Option<Fields<'r>> {
        let key = self.section.key(name)?;
        let kinds = match &key.kind {
            Kind::Either(kinds) => kinds,
            Kind::Scalar(_) | Kind::Null | Kind::Section(_) | Kind::List(_) | Kind::Map(..) | Kind::Json => {
                std::slice::from_ref(&key.kind)
            }
        };
        let section = kinds.iter().find_map(|kind| match kind {
            Kind::Section(section) => Some(*section),
            Kind::Scalar(_) | Kind::Null | Kind::List(_) | Kind::Map(..) | Kind::Either(_) | Kind::Json => None,
        })?;
        match self.node(name) {
            Some(node) => self.reading.fields(section, &node.path, node.value),
            None => {
                let path = dot(&self.path, name);
                Some(Fields { reading: self.reading, section, path, at: self.at, entries: &[] })
            }
        }
    }

    /// The items under `name`; those of the default where it does not stand (lists of words only).
    pub(crate) fn words(&self, name: &'static str) -> Vec<Placed<&'r str>> {
        if self.node(name).is_some() {
            return self.items(name).into_iter().filter_map(scalar_text).collect();
        }
        let default = self.text(name).map_or("", |text| text.value);
        let words = default.trim_matches(['[', ']']).split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(|value| Placed { value, at: self.at, path: dot(&self.path, name) }).collect()
    }

    /// The items under `name`.
    pub(crate) fn items(&self, name: &'static str) -> Vec<Placed<&'r Node>> {
        match self.node(name) {
            Some(Placed { value: Node { value: Value::List(items), .. }, path, .. }) => {
                let place = |(i, item): (usize, &'r Node)| Placed { value: item, at: item.at, path: index(&path, i) };
                items.iter().enumerate().map(place).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The sections of the list under `name`.
    pub(crate) fn sections(&self, name: &'static str) -> Vec<Fields<'r>> {
        let Some(Kind::List(Kind::Section(section))) = self.section.key(name).map(|key| &key.kind) else {
            return Vec::new();
        };
        let items = self.items(name).into_iter();
        items.filter_map(|item| self.reading.fields(section, &item.path, item.value)).collect()
    }

    /// The entries of the user's own names under `name`.
    pub(crate) fn entries(&self, name: &'static str) -> Vec<(&'r str, Placed<&'r Node>)> {
        match self.node(name) {
            Some(Placed { value: Node { value: Value::Map(entries), .. }, path, .. }) => {
                let place = |entry: &'r Entry| {
                    let placed = Placed { value: &entry.value, at: entry.value.at, path: dot(&path, &entry.key) };
                    (entry.key.as_str(), placed)
                };
                entries.iter().map(place).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The sections under the user's own names under `name`.
    pub(crate) fn named(&self, name: &'static str) -> Vec<(&'r str, Fields<'r>)> {
        let Some(Kind::Map(_, Kind::Section(section))) = self.section.key(name).map(|key| &key.kind) else {
            return Vec::new();
        };
        let entries = self.entries(name).into_iter();
        entries.filter_map(|(own, node)| Some((own, self.reading.fields(section, &node.path, node.value)?))).collect()
    }
}

/// The text of a single value.
pub(crate) fn scalar_text(node: Placed<&Node>) -> Option<Placed<&str>> {
    let Placed { value, at, path } = node;
    match &value.value {
        Value::Scalar { text, .. } if fits(value, &Kind::Scalar(crate::config::key::Scalar::Text)) => {
            Some(Placed { value: text, at, path })
        }
        Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
    }
}

/// Which keys readers ask for: a key that none asks for would be accepted and ignored.
#[cfg(test)]
pub(crate) mod asked {
    use crate::config::key::Section;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<(&'static str, &'static str)>> = RefCell::default();
    }

    pub(super) fn note(section: &'static Section, key: &'static str) {
        ASKED.with_borrow_mut(|asked| asked.insert((section.name, key)));
    }

    /// Whether the key was asked for in this thread.
    pub(crate) fn is(section: &str, key: &str) -> bool {
        ASKED.with_borrow(|asked| asked.iter().any(|one| *one == (section, key)))
    }
}
