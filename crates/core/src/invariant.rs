//! The laws of a release, checked after every step by tests and the simulator.
