//! Rules and what follows from them.
//!
//! [`RuleManager`] evaluates groups on their schedule, writes their series and drives the alert
//! state machine; [`Notifier`] takes alerts to external Alertmanagers and to our own receivers.

mod bench;
mod config;
mod group;
mod lenient;
mod manager;
mod matcher_text;
mod metrics;
mod notifier;
mod restore;
mod routing_file;
mod rule_file;
mod series_writer;
mod state;
mod status;
mod template;
mod yaml;

pub use bench::RuleBench;
pub use config::{AlertmanagerTarget, Receiver, Route, RoutingConfig, WebhookReceiver};
pub use lenient::KnownFields;
pub use manager::{RuleManager, RuleManagerOptions};
pub use notifier::{DeliveryStatus, Notifier, NotifierOptions};
pub use routing_file::RoutingFileError;
pub use rule_file::{RULE_FILE_LIMIT_BYTES, Rule, RuleFile, RuleFileError, RuleGroup, RuleKind};
pub use status::{AlertState, AlertStatus, GroupStatus, RuleHealth, RuleStatus};
