//! Tests against the running program, from outside: the same executable, files and sockets that a
//! user has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod harness;

mod accounts;
mod alertmanager;
mod alerts;
mod crash;
mod dashboards;
mod demonstration;
mod disk;
mod faults;
mod layers;
mod malformed;
mod pingbacks;
mod pipeline;
mod prometheus;
mod recovery;
mod rules;
mod serve;
mod tasks;
