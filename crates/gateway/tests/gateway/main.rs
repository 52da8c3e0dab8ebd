//! A gateway between a client and scripted upstreams, over real sockets, in virtual time.
#![expect(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

mod blame;
mod cancel;
mod capacity;
mod captures;
mod chain;
mod control;
mod decisions;
mod hedge;
mod hostile;
mod messages;
mod people;
mod prices;
mod probe;
mod quotas;
mod records;
mod renewal;
mod secrecy;
mod sessions;
mod shadow;
mod shapes;
mod similarity;
mod sockets;
mod sockets_left;
mod support;
mod surfaces;
mod telemetry;
mod tls;
mod translated;
mod uploads;
mod upstreams;
mod variables;
mod traps {
    mod both;
    mod breaks;
    mod ends;
    mod frames;
    mod framing;
    mod limits;
    mod meaning;
    mod split;
    mod state;
    mod stuck;
    mod translation;
}
mod warming;
mod way;
