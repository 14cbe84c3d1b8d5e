//! Keeps the results that `CaptchaAI` sends, shows what happens to a Prometheus server, and gets alerts
//! to people.
//!
//! Reading order: [`domain`] says what things are, [`config`] how the program is set up, [`store`] how
//! nothing is lost, [`notify`] whom it can tell and [`delivery`] when, [`captchaai`] how the account is
//! asked, [`http`] what the outside world can call, [`metrics`] what Prometheus sees, [`app`] how it is
//! all put together, [`demo`] what it looks like without an account. Dependencies point one way;
//! `tests/it/layers.rs` holds that.

pub mod app;
pub mod captchaai;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod store;
