//! Golden files of each direction, read by people; and what holds of all of them.

mod answers;
mod copies;
mod requests;
mod tools;
