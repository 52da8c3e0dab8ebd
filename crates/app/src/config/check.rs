//! Checks a tree against the table of keys: unknown, missing and not-built keys, shapes, and the
//! form of every single value. What holds between values is for the readers behind.

use crate::config::fault::{self, At, Complaint, FAULTS_MAX, Fault, dot, index, nearest};
use crate::config::json;
use crate::config::key::{Key, Kind, Need, Scalar, Section};
use crate::config::scalar;
use crate::config::tree::{Entry, Node, Value};

/// All that is wrong with `node` as a `section`.
pub(crate) fn check(node: &Node, section: &'static Section) -> Vec<Fault> {
    let mut checker = Checker { faults: Vec::new() };
    checker.section("", node, section);
    checker.faults
}

struct Checker {
    faults: Vec<Fault>,
}

impl Checker {
    fn fault(&mut self, at: At, key: &str, complaint: Complaint) {
        let Complaint { what, mend } = complaint;
        fault::add(&mut self.faults, Fault { at, key: key.to_owned(), what, nearest: None, mend });
    }

    fn section(&mut self, path: &str, node: &Node, section: &'static Section) {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Scalar { .. } | Value::List(_) => {
                let what = format!("{} stands where the keys of {} belong", node.shape(), section.name);
                return self.fault(node.at, path, Complaint::new(what, format!("write {}", required_of(section))));
            }
        };
        for entry in entries {
            let path = dot(path, &entry.key);
            match section.key(&entry.key) {
                None => self.unknown(&path, entry, section),
                Some(Key { need: Need::NotBuilt(mend), name, doc, .. }) => {
                    let what = format!("`{name}` belongs to the format and is not built yet ({})", lower(doc));
                    self.fault(entry.at, &path, Complaint::new(what, *mend));
                }
                Some(key) => self.value(&path, &entry.value, &key.kind),
            }
        }
        for key in section.keys.iter().filter(|key| matches!(key.need, Need::Required)) {
            if !entries.iter().any(|entry| entry.key == key.name) {
                let complaint = Complaint::new("the key is missing", format!("add it: {}", lower(key.doc)));
                self.fault(node.at, &dot(path, key.name), complaint);
            }
        }
    }

    fn unknown(&mut self, path: &str, entry: &Entry, section: &'static Section) {
        if self.faults.len() > FAULTS_MAX {
            return;
        }
        let known = || section.keys.iter().filter(|key| key.is_built()).map(|key| key.name);
        let nearest = nearest(&entry.key, known());
        let mend = match &nearest {
            Some(near) => format!("rename it to `{near}`, or remove it"),
            None => {
                format!("remove it; the keys of this {} are {}", section.name, known().collect::<Vec<_>>().join(", "))
            }
        };
        let what = format!("{} is not a key here", scalar::shown(&entry.key));
        fault::add(&mut self.faults, Fault { at: entry.at, key: path.to_owned(), what, nearest, mend });
    }

    fn value(&mut self, path: &str, node: &Node, kind: &'static Kind) {
        match (kind, &node.value) {
            (Kind::Either(kinds), _) => match kinds.iter().find(|kind| fits(node, kind)) {
                Some(kind) => self.value(path, node, kind),
                None => self.misfit(path, node, kind),
            },
            (Kind::Null, _) if node.is_null() => {}
            (Kind::Scalar(_), Value::Scalar { .. }) if node.is_null() => self.misfit(path, node, kind),
            (Kind::Scalar(form), Value::Scalar { text, .. }) => {
                if let Err(complaint) = form.check(text) {
                    self.fault(node.at, path, complaint);
                }
            }
            (Kind::Section(section), Value::Map(_)) => self.section(path, node, section),
            (Kind::List(of), Value::List(items)) => {
                for (i, item) in items.iter().enumerate() {
                    self.value(&index(path, i), item, of);
                }
            }
            (Kind::Map(_, of), Value::Map(entries)) => {
                for entry in entries {
                    let path = dot(path, &entry.key);
                    if let Err(complaint) = name_of(kind, &entry.key) {
                        self.fault(entry.at, &path, complaint);
                    }
                    self.value(&path, &entry.value, of);
                }
            }
            (Kind::Json, _) => {
                if let Err((at, complaint)) = json::text(node) {
                    self.fault(at, path, complaint);
                }
            }
            (Kind::Null | Kind::Scalar(_) | Kind::Section(_) | Kind::List(_) | Kind::Map(..), _) => {
                self.misfit(path, node, kind);
            }
        }
    }

    fn misfit(&mut self, path: &str, node: &Node, kind: &'static Kind) {
        let what = format!("{} stands where {} belongs", node.shape(), expects(kind));
        self.fault(node.at, path, Complaint::new(what, format!("write {}", expects(kind))));
    }
}

/// Names that users choose: models may hold slashes and colons, everything else is a name.
fn name_of(kind: &Kind, name: &str) -> Result<(), Complaint> {
    match kind {
        Kind::Map("MODEL", _) => Scalar::Text.check(name),
        Kind::Map(..)
        | Kind::Scalar(_)
        | Kind::Null
        | Kind::Section(_)
        | Kind::List(_)
        | Kind::Either(_)
        | Kind::Json => scalar::name(name),
    }
}

/// Whether the shape of `node` is that of `kind`.
pub(crate) fn fits(node: &Node, kind: &Kind) -> bool {
    match (kind, &node.value) {
        (Kind::Null, _) => node.is_null(),
        (Kind::Scalar(_), Value::Scalar { .. }) => !node.is_null(),
        (Kind::Section(_) | Kind::Map(..), Value::Map(_)) | (Kind::List(_), Value::List(_)) | (Kind::Json, _) => true,
        (Kind::Either(kinds), _) => kinds.iter().any(|kind| fits(node, kind)),
        (Kind::Scalar(_) | Kind::Section(_) | Kind::Map(..) | Kind::List(_), _) => false,
    }
}

/// What is expected, for people.
pub(crate) fn expects(kind: &Kind) -> String {
    match kind {
        Kind::Scalar(form) => form.expects(),
        Kind::Null => "null".to_owned(),
        Kind::Section(section) => format!("a mapping of {}", required_of(section)),
        Kind::List(of) => format!("a list of this: {}", expects(of)),
        Kind::Map(name, _) => format!("a mapping of {name} to what it is"),
        Kind::Either(kinds) => kinds.iter().map(expects).collect::<Vec<_>>().join(", or "),
        Kind::Json => "a JSON value".to_owned(),
    }
}

fn required_of(section: &Section) -> String {
    let must: Vec<&str> =
        section.keys.iter().filter(|key| matches!(key.need, Need::Required)).map(|key| key.name).collect();
    let named = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    if must.is_empty() {
        let may: Vec<&str> = section.keys.iter().filter(|key| key.is_built()).map(|key| key.name).collect();
        return named(&may);
    }
    named(&must)
}

/// A sentence without its capital and its stop, to stand inside another.
fn lower(doc: &str) -> String {
    let mut chars = doc.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
