//! The log: one line per event on standard error, as logfmt or JSON.

use std::fmt::{self, Write as _};

use barograph_model::labels::write_quoted;
use barograph_model::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::api::rfc3339;

/// Sends events of this process to standard error. Called once.
pub(crate) fn install(level: Level, json: bool) {
    // Libraries below us are heard only when they warn.
    let filter = format!("warn,barograph={level}")
        + &["alerting", "exporters", "query", "scraper", "tsdb", "ui"]
            .map(|name| format!(",barograph_{name}={level}"))
            .concat();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // Would be printed to standard error too, and panic where a full disk is behind it.
        .log_internal_errors(false)
        .with_ansi(false);
    // A second call, in tests, finds the first in place.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.event_format(Logfmt).try_init()
    };
}

struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let component = metadata.target().split("::").next().unwrap_or_default();
        let component = component.strip_prefix("barograph_").unwrap_or(component);
        write!(
            out,
            "time={} level={} component={component} msg=",
            rfc3339(SystemClock.now_ms()),
            metadata.level()
        )?;
        write_value(&mut out, &fields.message)?;
        out.write_str(&fields.others)?;
        out.write_char('\n')
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
            return;
        }
        let _ = write!(self.others, " {}=", field.name());
        let _ = write_value(&mut self.others, &text);
    }
}

/// A value as logfmt has it: bare where nothing in it could be misread.
fn write_value(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let bare = |ch: char| !ch.is_control() && !matches!(ch, ' ' | '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(bare) {
        return out.write_str(text);
    }
    write_quoted(out, text)
}

#[cfg(test)]
mod tests {
    use super::write_value;

    #[test]
    fn values_are_quoted_where_needed() {
        for (text, want) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=\"b\"\n", r#""a=\"b\"\n""#),
        ] {
            let mut out = String::new();
            write_value(&mut out, text).expect("a string takes everything");
            assert_eq!(out, want);
        }
    }
}
