//! Start timestamps in series notation: `_ -1m 0-30sx2`, each relative to the time of its sample.

use barograph_model::duration::parse_duration_ms;

/// Most values that one line may stand for.
const LIMIT: usize = 1_000_000;

/// The values of a line, milliseconds.
pub(super) fn parse(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut all = Vec::new();
    for word in text.split_whitespace() {
        let (word, times) = match word.split_once('x') {
            Some((word, times)) => {
                let times: usize = times.parse().map_err(|_| fail(word))?;
                (word, Some(times))
            }
            None => (word, None),
        };
        // A repetition stands for the value itself and so many more; of nothing for just so many.
        let count = match times {
            Some(times) if word == "_" => times,
            Some(times) => times.saturating_add(1),
            None => 1,
        };
        if all.len().saturating_add(count) > LIMIT {
            return Err(format!("more than {LIMIT} start timestamps"));
        }
        if word == "_" {
            all.resize(all.len() + count, None);
            continue;
        }
        // The increment begins at the second sign.
        let second = word
            .char_indices()
            .skip(1)
            .find(|(_, c)| matches!(c, '+' | '-'));
        let (first, increment) = word.split_at(second.map_or(word.len(), |(at, _)| at));
        let mut value = signed(first)?;
        let increment = if increment.is_empty() {
            0
        } else {
            signed(increment)?
        };
        for _ in 0..count {
            all.push(Some(value));
            value = value.saturating_add(increment);
        }
    }
    Ok(all)
}

fn signed(text: &str) -> Result<i64, String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    parse_duration_ms(rest)
        .map(|ms| sign * ms)
        .map_err(|_| fail(text))
}

fn fail(text: &str) -> String {
    format!("no start timestamp, such as -30s: {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_expand() {
        assert_eq!(
            parse("_ _x2 -30s-1mx2 0 +1m 1ms"),
            Ok(vec![
                None,
                None,
                None,
                Some(-30_000),
                Some(-90_000),
                Some(-150_000),
                Some(0),
                Some(60_000),
                Some(1)
            ])
        );
        assert!(parse("abc").is_err());
    }
}
