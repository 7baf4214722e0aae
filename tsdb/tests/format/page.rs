//! Pages and timestamp columns, as `docs/format/block.md` says.

use pco::standalone::simple_decompress;

use crate::bytes::{Bytes, packed, unzigzag};

/// A timestamp column.
pub(crate) fn column(bytes: &[u8], rows: usize) -> Vec<i64> {
    let mut reader = Bytes(bytes);
    assert_eq!(reader.u32(), crc32c::crc32c(reader.0));
    let mut times = vec![reader.signed()];
    let mut step = 0i64;
    while times.len() < rows {
        let mut repeat = 1;
        match reader.varint() {
            0 => match reader.count() {
                0 => step = step.wrapping_add(i64::MIN),
                rows => repeat = rows,
            },
            change => step = step.wrapping_add(unzigzag(change - 1)),
        }
        for _ in 0..repeat {
            times.push(times[times.len() - 1].wrapping_add(step));
        }
    }
    assert!(reader.is_empty() && times.len() == rows);
    times
}

/// The codec of a page and its values, as bits.
pub(crate) fn page(bytes: &[u8]) -> (u8, Vec<u64>) {
    let mut reader = Bytes(bytes);
    assert_eq!(reader.u32(), crc32c::crc32c(reader.0));
    let (marked, form) = (reader.u8(), reader.u8());
    let count = reader.count();
    assert!((1..=4096).contains(&count));
    let float = |reader: &mut Bytes<'_>| f64::from_bits(reader.varint().swap_bytes());
    let codec = marked & 63;
    let least = float(&mut reader);
    if codec == 0 {
        assert!(form == 0 && reader.is_empty());
        return (0, vec![least.to_bits(); count]);
    }
    let greatest = float(&mut reader);
    let (scale, order) = (form % 16, form / 16);
    let values: Vec<u64> = match codec {
        1 => steps(&mut reader, count),
        2 => {
            let values = integers(&mut reader, order, count);
            let mut values: Vec<u64> = values.into_iter().map(|n| decimal(n, scale)).collect();
            exceptions(&mut reader, &mut values);
            values
        }
        3 => {
            let distinct: Vec<u64> = (0..reader.u8()).map(|_| reader.u64()).collect();
            let width = usize::BITS - (distinct.len() - 1).leading_zeros();
            let indices = packed(&mut reader, width, count);
            indices
                .into_iter()
                .map(|at| distinct[at as usize])
                .collect()
        }
        4 => xor(&mut reader, count),
        5 => {
            let values = integers(&mut reader, form, count);
            values.into_iter().map(|n| ordered(n) as u64).collect()
        }
        6 => {
            let near = integers(&mut reader, order, count);
            let order = reader.u8();
            let further = integers(&mut reader, order, count);
            let near = near.into_iter().map(|n| ordered(decimal(n, scale) as i64));
            let values = near
                .zip(further)
                .map(|(near, further)| near.wrapping_add(further));
            values.map(|n| ordered(n) as u64).collect()
        }
        7 => {
            let mut replaced = reader;
            let mut none = vec![0; count];
            exceptions(&mut reader, &mut none);
            let coded = simple_decompress::<i64>(reader.take(reader.0.len())).expect("pco");
            let mut values: Vec<u64> = coded.into_iter().map(|n| decimal(n, form)).collect();
            exceptions(&mut replaced, &mut values);
            values
        }
        8 => {
            let coded = simple_decompress::<f64>(reader.take(reader.0.len())).expect("pco");
            coded.into_iter().map(f64::to_bits).collect()
        }
        _ => panic!("codec {codec}"),
    };
    assert!(reader.is_empty(), "codec {codec}: bytes are left");
    assert_eq!(values.len(), count);
    check_head(marked, least, greatest, &values);
    (codec, values)
}

/// What the head says of the values is so.
fn check_head(marked: u8, least: f64, greatest: f64, values: &[u64]) {
    let floats: Vec<f64> = values.iter().map(|bits| f64::from_bits(*bits)).collect();
    let numbers = || floats.iter().copied().filter(|value| !value.is_nan());
    let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
    assert!(same(least, numbers().fold(f64::NAN, f64::min)));
    assert!(same(greatest, numbers().fold(f64::NAN, f64::max)));
    let odd = |value: &f64| value.is_nan() || value.to_bits() == (-0.0f64).to_bits();
    assert_eq!(marked & 128 != 0, !floats.iter().any(odd));
    let rises = floats.windows(2).all(|pair| pair[0] <= pair[1]);
    assert_eq!(marked & 64 != 0, marked & 128 != 0 && rises);
}

/// The bits of the lower 63 flipped where the number is negative; undone by itself.
fn ordered(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn decimal(integer: i64, scale: u8) -> u64 {
    (integer as f64 / 10f64.powi(i32::from(scale))).to_bits()
}

fn exceptions(reader: &mut Bytes<'_>, values: &mut [u64]) {
    for _ in 0..reader.count() {
        let index = reader.count();
        values[index] = reader.u64();
    }
}

fn integers(reader: &mut Bytes<'_>, order: u8, count: usize) -> Vec<i64> {
    let order = usize::from(order);
    assert!(order <= 2);
    let (mut out, mut heads) = (Vec::new(), [0i64; 2]);
    while out.len() < count {
        let length = (count - out.len()).min(256);
        let own = order.min(length);
        for head in &mut heads[..own] {
            *head = head.wrapping_add(reader.signed());
        }
        let mut stretch = match length - own {
            0 => Vec::new(),
            left => frame(reader, left),
        };
        for head in heads[..own].iter().rev() {
            let mut last = *head;
            let rest = stretch.iter().map(|difference| {
                last = last.wrapping_add(*difference);
                last
            });
            stretch = std::iter::once(*head)
                .chain(rest.collect::<Vec<_>>())
                .collect();
        }
        out.extend(stretch);
    }
    out
}

fn frame(reader: &mut Bytes<'_>, count: usize) -> Vec<i64> {
    let (least, width) = (reader.signed(), reader.u8());
    let mut values = match width & 127 {
        0 => vec![least; count],
        bits => {
            let divisor = reader.varint();
            let values = packed(reader, u32::from(bits), count).into_iter();
            values
                .map(|n| least.wrapping_add(n.wrapping_mul(divisor) as i64))
                .collect()
        }
    };
    if width & 128 != 0 {
        for _ in 0..reader.count() {
            let index = usize::from(reader.u8());
            values[index] = least.wrapping_add(reader.signed());
        }
    }
    values
}

/// Value steps, as `docs/format/wal.md` says, and the last value up to the count.
fn steps(reader: &mut Bytes<'_>, count: usize) -> Vec<u64> {
    let (mut out, mut last, mut scale) = (Vec::new(), 0u64, 0u8);
    while !reader.is_empty() {
        let step = reader.varint();
        if step > 0 {
            let difference = unzigzag(step - 1);
            let value = f64::from_bits(last);
            last = match scale {
                0..10 => {
                    let power = 10f64.powi(i32::from(scale));
                    (((value * power).round() + difference as f64) / power).to_bits()
                }
                10..20 => {
                    let power = 10f64.powi(i32::from(scale - 10));
                    let near = ((value * power).round() + difference as f64) / power;
                    let further = reader.signed();
                    ordered(ordered(near.to_bits() as i64).wrapping_add(further)) as u64
                }
                _ => ordered(ordered(last as i64).wrapping_add(difference)) as u64,
            };
            out.push(last);
            continue;
        }
        match reader.u8() {
            repeat @ 1..=200 => {
                out.extend((0..repeat).map(|_| last));
                continue;
            }
            201 => last = reader.u64(),
            202 => last = 0x7ff0_0000_0000_0002,
            203 => {
                last = 0;
                continue;
            }
            changed @ 210..=230 => {
                scale = changed - 210;
                continue;
            }
            other => panic!("a step 0, {other} in a page of a block"),
        }
        out.push(last);
    }
    out.resize(count, last);
    out
}

fn xor(reader: &mut Bytes<'_>, count: usize) -> Vec<u64> {
    let bytes = reader.take(reader.0.len());
    let mut at = 0;
    let mut bits = |count: u32| {
        (0..count).fold(0u64, |value, _| {
            let bit = bytes[at / 8] >> (7 - at % 8) & 1;
            at += 1;
            value << 1 | u64::from(bit)
        })
    };
    let (mut last, mut leading, mut length) = (0, 0, 0);
    let mut out = Vec::new();
    for _ in 0..count {
        if bits(1) == 1 {
            if bits(1) == 1 {
                leading = bits(5) as u32;
                length = bits(6) as u32 + 1;
            }
            last ^= bits(length) << (64 - leading - length);
        }
        out.push(last);
    }
    assert_eq!(at.div_ceil(8), bytes.len());
    out
}
