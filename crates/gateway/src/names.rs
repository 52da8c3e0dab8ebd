//! Names that providers say again with every answer: their models, their machines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many are remembered: what answers at a time comes under few.
const REMEMBERED: usize = 16;

thread_local! {
    static SAID: RefCell<VecDeque<Arc<str>>> = const { RefCell::new(VecDeque::new()) };
}

/// A name, in the room that it has already where this thread was told it of late.
pub(crate) fn said(name: &str) -> Arc<str> {
    SAID.with_borrow_mut(|said| {
        if let Some(known) = said.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        if said.len() >= REMEMBERED {
            said.pop_front();
        }
        let new: Arc<str> = name.into();
        said.push_back(Arc::clone(&new));
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_said_again_takes_no_room() {
        let first = said("gpt-5-2026-08-07");
        assert_eq!(&*first, "gpt-5-2026-08-07");
        assert!(Arc::ptr_eq(&first, &said("gpt-5-2026-08-07")));
        assert!(!Arc::ptr_eq(&first, &said("gpt-5-2026-08-0")));
    }

    #[test]
    fn few_are_remembered() {
        let first = said("0");
        let others: Vec<_> = (1..=REMEMBERED).map(|n| said(&n.to_string())).collect();
        assert!(Arc::ptr_eq(&others[REMEMBERED - 1], &said(&REMEMBERED.to_string())));
        assert!(!Arc::ptr_eq(&first, &said("0")));
        SAID.with_borrow(|said| assert_eq!(said.len(), REMEMBERED));
    }
}
