//! A whole text of exposition format 0.0.4 at once, for tools.

use barograph_model::{Labels, LabelsBuilder, MetricKind};

use crate::parse::{Dialect, Item, MetadataField, Parser, TextParser, Unknown, read_labels};

/// What a line of an exposition text says.
#[derive(Debug)]
pub enum TextLine<'a> {
    /// A family's kind.
    Kind(&'a str, MetricKind),
    /// That a family has a help text.
    Help(&'a str),
    /// A sample's name and labels.
    Sample(&'a Labels),
}

/// Calls `each` with every line of a text in Prometheus's exposition format 0.0.4.
///
/// # Errors
/// The text is malformed, with the place.
pub fn read_text(text: &[u8], mut each: impl FnMut(TextLine<'_>)) -> Result<(), String> {
    let mut parser = TextParser::new(text);
    let mut builder = LabelsBuilder::new();
    while let Some(item) = parser.next(&mut Unknown).map_err(|e| e.to_string())? {
        match item {
            Item::Sample(line) => {
                read_labels(line.series, Dialect::Text, parser.kind(), &mut builder)
                    .map_err(|e| format!("{}: {}", String::from_utf8_lossy(line.series), e.0))?;
                each(TextLine::Sample(&builder.build()));
            }
            Item::Metadata(line) => {
                let family = String::from_utf8_lossy(line.family);
                match line.field {
                    MetadataField::Kind(kind) => each(TextLine::Kind(&family, kind)),
                    MetadataField::Help(_) => each(TextLine::Help(&family)),
                    MetadataField::Unit(_) => {}
                }
            }
        }
    }
    Ok(())
}
