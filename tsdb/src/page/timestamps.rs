//! A timestamp column: the first instant, then differences of differences, with runs of zero.

use crate::bytes::{Malformed, Reader, put_signed, put_varint, unzigzag, zigzag};

/// Appends the column. A regular interval costs a few bytes however many rows there are.
pub(crate) fn encode(timestamps_ms: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = timestamps_ms.split_first() else {
        return;
    };
    put_signed(out, first);
    let (mut last, mut step, mut zeros) = (first, 0i64, 0u64);
    for &now in rest {
        let new_step = now.wrapping_sub(last);
        let change = new_step.wrapping_sub(step);
        (last, step) = (now, new_step);
        if change == 0 {
            zeros += 1;
            continue;
        }
        put_zeros(out, &mut zeros);
        // 0 announces a run; a run of none stands for the one change that has no number left.
        match zigzag(change).checked_add(1) {
            Some(number) => put_varint(out, number),
            None => out.extend_from_slice(&[0, 0]),
        }
    }
    put_zeros(out, &mut zeros);
}

/// Appends the `rows` timestamps of a column to `into`; reads exactly what [`encode`] wrote.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    rows: usize,
    into: &mut Vec<i64>,
) -> Result<(), Malformed> {
    if rows == 0 {
        return Ok(());
    }
    let mut last = reader.signed()?;
    into.push(last);
    let mut step = 0i64;
    let mut left = rows - 1;
    while left > 0 {
        match reader.varint()? {
            0 => {
                let zeros = reader.varint()?;
                if zeros == 0 {
                    step = step.wrapping_add(i64::MIN);
                    last = last.wrapping_add(step);
                    into.push(last);
                    left -= 1;
                    continue;
                }
                if zeros > left as u64 {
                    return Err(reader.fail("a run of timestamps beyond the rows"));
                }
                for _ in 0..zeros {
                    last = last.wrapping_add(step);
                    into.push(last);
                }
                left -= zeros as usize;
            }
            change => {
                step = step.wrapping_add(unzigzag(change - 1));
                last = last.wrapping_add(step);
                into.push(last);
                left -= 1;
            }
        }
    }
    Ok(())
}

fn put_zeros(out: &mut Vec<u8>, zeros: &mut u64) {
    if *zeros > 0 {
        out.push(0);
        put_varint(out, *zeros);
        *zeros = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_survive() {
        for column in [
            vec![],
            vec![5],
            (0..500).map(|i| 1_700_000_000_000 + i * 15_000).collect(),
            vec![-3, 0, 1, 1_000, 1_001, 1_002, i64::MAX >> 2],
            vec![-(1 << 62), 1 << 62, (1 << 62) + 1, i64::MAX],
            vec![i64::MIN, 0, i64::MAX],
        ] {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            encode(&column, &mut out);
            decode(&mut Reader::new(&out), column.len(), &mut back).expect("just written");
            assert_eq!(back, column);
            assert!(column.len() != 500 || out.len() < 14, "{}", out.len());
        }
    }
}
