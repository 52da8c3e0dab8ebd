//! Messages from one end to the other: read, patched, observed.

mod golden;
mod patching;
mod reading;
