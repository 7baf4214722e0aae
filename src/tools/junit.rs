//! Results of tests as JUnit XML, which build servers read.

use std::fmt::Write as _;

/// The results of one file.
#[derive(Debug, Default)]
pub(crate) struct Suite {
    /// The file.
    pub(crate) name: String,
    /// Why it could not be run at all.
    pub(crate) error: Option<String>,
    /// When it was run, as `2006-01-02T15:04:05`.
    pub(crate) timestamp: String,
    /// Its tests.
    pub(crate) cases: Vec<Case>,
}

/// One test: it passed where there are no failures.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) failures: Vec<String>,
}

/// The whole document.
pub(crate) fn document(suites: &[Suite]) -> String {
    let mut xml = String::from("<testsuites>");
    for suite in suites {
        let failures: usize = suite.cases.iter().map(|case| case.failures.len()).sum();
        let errors = usize::from(suite.error.is_some());
        // An error belongs to a test; where there is none, to one made for it.
        let tests = suite.cases.len().max(errors);
        let _ = write!(
            xml,
            "<testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" timestamp=\"{}\">",
            escaped(&suite.name),
            escaped(&suite.timestamp),
        );
        for case in &suite.cases {
            let _ = write!(xml, "<testcase name=\"{}\">", escaped(&case.name));
            for failure in &case.failures {
                let _ = write!(xml, "<failure>{}</failure>", escaped(failure));
            }
            xml.push_str("</testcase>");
        }
        if let Some(error) = &suite.error {
            let _ = write!(
                xml,
                "<testcase name=\"unknown\"><error>{}</error></testcase>",
                escaped(error)
            );
        }
        xml.push_str("</testsuite>");
    }
    xml.push_str("</testsuites>");
    xml
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#xA;"),
            '\t' => out.push_str("&#x9;"),
            '\r' => out.push_str("&#xD;"),
            // XML has no way to write the other controls.
            ch if ch.is_control() => out.push('\u{fffd}'),
            ch => out.push(ch),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_escaped() {
        let suite = Suite {
            name: "a.yml".into(),
            error: None,
            timestamp: "2026-01-02T03:04:05".into(),
            cases: vec![Case {
                name: "first".into(),
                failures: vec!["1 < 2 & \"x\"".into()],
            }],
        };
        assert_eq!(
            document(&[suite]),
            "<testsuites><testsuite name=\"a.yml\" tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\" timestamp=\"2026-01-02T03:04:05\"><testcase name=\"first\"><failure>1 &lt; 2 &amp; &#34;x&#34;</failure></testcase></testsuite></testsuites>"
        );
    }
}
