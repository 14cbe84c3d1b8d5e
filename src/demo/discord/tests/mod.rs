//! The simulated Discord is the judge of the notifier, so it is judged here.

mod http;
mod limits;
mod service;
