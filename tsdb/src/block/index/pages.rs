//! References to pages: how an index says where the pages of a series are.

use crate::block::Damaged;
use crate::block::index::{COLUMN_BYTES, SHARED_PAGE_BYTES, in_index};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// A page of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRef {
    pub(crate) column: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Pages of a series, one after the other.
pub(crate) struct Pages<'a> {
    reader: Reader<'a>,
    left: u64,
    base: u64,
    form: Form<'a>,
}

/// How references are written.
enum Form<'a> {
    /// Each for itself, as in version 1.
    Plain,
    /// Each relative to the one before.
    Relative {
        columns: &'a [u8],
        shared: &'a [u8],
        origin: Origin,
        /// What is taken for the column of the next page.
        column: u32,
        is_first: bool,
    },
}

/// What references are relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Where in the data file the newest page ends that is not a shared one.
    end: u64,
    /// The column of the first page of the series before.
    column: u32,
}

/// Where a page stands, for who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In the data file.
    At { offset: u64, length: u64 },
    /// In the table of pages that several series share.
    Shared(u32),
}

/// The column is the one that is expected.
const EXPECTED_COLUMN: u64 = 1;
/// The page has all rows of the column.
const WHOLE: u64 = 2;
/// Where the page is: behind the one before, elsewhere, or in the table of shared ones.
const PLACES: u64 = 3 << 2;
const NEXT: u64 = 0;
const ELSEWHERE: u64 = 1 << 2;
const SHARED: u64 = 2 << 2;
const FLAG_BITS: u32 = 4;

impl Origin {
    /// Before the first page of a group of series.
    pub(crate) fn at(end: u64) -> Self {
        Self { end, column: 0 }
    }
}

/// Writes the references of a series.
pub(crate) struct PagesWriter<'a> {
    out: &'a mut Vec<u8>,
    origin: &'a mut Origin,
    column: u32,
    is_first: bool,
}

impl<'a> PagesWriter<'a> {
    /// Begins with a series of so many pages.
    pub(crate) fn begin(out: &'a mut Vec<u8>, origin: &'a mut Origin, count: usize) -> Self {
        put_varint(out, count as u64);
        Self {
            column: origin.column,
            out,
            origin,
            is_first: true,
        }
    }

    /// The next page: `rows` of the column, which has `all` of them.
    pub(crate) fn put(&mut self, place: Place, column: u32, rows: &[(u32, u32)], all: u32) {
        let mut flags = 0;
        if column == self.column {
            flags |= EXPECTED_COLUMN;
        }
        let is_whole = rows == [(0, all)];
        if is_whole {
            flags |= WHOLE;
        }
        let number = match place {
            Place::At { offset, length } => {
                flags |= if offset == self.origin.end {
                    NEXT
                } else {
                    ELSEWHERE
                };
                length
            }
            Place::Shared(number) => {
                flags |= SHARED;
                u64::from(number)
            }
        };
        put_varint(self.out, number << FLAG_BITS | flags);
        if column != self.column {
            put_signed(self.out, i64::from(column) - i64::from(self.column));
        }
        if let Place::At { offset, length } = place {
            let distance = offset.wrapping_sub(self.origin.end) as i64;
            if distance != 0 {
                put_signed(self.out, distance);
            }
            if distance >= 0 {
                self.origin.end = offset + length;
            }
        }
        if !is_whole {
            put_varint(self.out, rows.len() as u64);
            let mut at = 0;
            for (first, count) in rows {
                debug_assert!(*first >= at, "BUG: rows of a page that do not ascend");
                put_varint(self.out, u64::from(first.wrapping_sub(at)));
                put_varint(self.out, u64::from(*count));
                at = first + count;
            }
        }
        if std::mem::take(&mut self.is_first) {
            self.origin.column = column;
        }
        self.column = column.saturating_add(1);
    }
}

impl<'a> Pages<'a> {
    /// References of version 1; `base` is where the section is.
    pub(crate) fn plain(mut reader: Reader<'a>, base: u64) -> Result<Self, Damaged> {
        let left = reader.varint().map_err(|e| in_index(base, e))?;
        Ok(Self {
            reader,
            left,
            base,
            form: Form::Plain,
        })
    }

    /// References of version 2, of a series behind `origin`.
    pub(crate) fn relative(
        mut reader: Reader<'a>,
        base: u64,
        origin: Origin,
        columns: &'a [u8],
        shared: &'a [u8],
    ) -> Result<Self, Damaged> {
        let left = reader.varint().map_err(|e| in_index(base, e))?;
        let form = Form::Relative {
            columns,
            shared,
            origin,
            column: origin.column,
            is_first: true,
        };
        Ok(Self {
            reader,
            left,
            base,
            form,
        })
    }

    /// The next page; its stretches of rows replace what `rows` holds.
    pub(crate) fn next(&mut self, rows: &mut Vec<(u32, u32)>) -> Result<Option<PageRef>, Damaged> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        rows.clear();
        let read = match &self.form {
            Form::Plain => self.read_plain(rows),
            Form::Relative { .. } => self.read_relative(rows),
        };
        read.map(Some).map_err(|e| in_index(self.base, e))
    }

    fn read_plain(&mut self, rows: &mut Vec<(u32, u32)>) -> Result<PageRef, Malformed> {
        let reader = &mut self.reader;
        let page = PageRef {
            column: reader.varint_u32()?,
            offset: reader.varint()?,
            length: reader.varint()?,
        };
        // The distance is signed, though it is never less than zero.
        take_rows(reader, rows, Reader::signed)?;
        Ok(page)
    }

    fn read_relative(&mut self, rows: &mut Vec<(u32, u32)>) -> Result<PageRef, Malformed> {
        let Form::Relative {
            columns,
            shared,
            origin,
            column,
            is_first,
        } = &mut self.form
        else {
            unreachable!("BUG: references of another form");
        };
        let reader = &mut self.reader;
        let head = Head::read(reader, origin, *column)?;
        if head.is_whole {
            rows.push((0, rows_of(columns, head.column, reader)?));
        } else {
            take_rows(reader, rows, |reader| {
                let step = reader.varint()?;
                i64::try_from(step).map_err(|_| reader.fail("rows beyond 32 bits"))
            })?;
        }
        if std::mem::take(is_first) {
            origin.column = head.column;
        }
        *column = head.column.saturating_add(1);
        let (offset, length) = match head.place {
            Place::At { offset, length } => (offset, length),
            Place::Shared(number) => shared_page(shared, number, reader)?,
        };
        Ok(PageRef {
            column: head.column,
            offset,
            length,
        })
    }
}

/// Passes over the references of a series.
pub(crate) fn skip(reader: &mut Reader<'_>, origin: &mut Origin) -> Result<(), Malformed> {
    let mut column = origin.column;
    // Each takes a byte.
    for number in 0..reader.count(1)? {
        let head = Head::read(reader, origin, column)?;
        if !head.is_whole {
            for _ in 0..reader.count(2)? {
                reader.varint()?;
                reader.varint()?;
            }
        }
        if number == 0 {
            origin.column = head.column;
        }
        column = head.column.saturating_add(1);
    }
    Ok(())
}

/// What a reference of version 2 begins with.
struct Head {
    column: u32,
    is_whole: bool,
    place: Place,
}

impl Head {
    #[inline]
    fn read(reader: &mut Reader<'_>, origin: &mut Origin, column: u32) -> Result<Self, Malformed> {
        let head = reader.varint()?;
        let number = head >> FLAG_BITS;
        let column = if head & EXPECTED_COLUMN != 0 {
            column
        } else {
            let column = i64::from(column).checked_add(reader.signed()?);
            let column = column.and_then(|column| u32::try_from(column).ok());
            column.ok_or_else(|| reader.fail("a column beyond 32 bits"))?
        };
        let place = match head & PLACES {
            SHARED => {
                let number = u32::try_from(number);
                Place::Shared(number.map_err(|_| reader.fail("a shared page beyond 32 bits"))?)
            }
            place @ (NEXT | ELSEWHERE) => {
                let distance = if place == NEXT { 0 } else { reader.signed()? };
                let offset = origin.end.checked_add_signed(distance);
                let end = offset.and_then(|offset| offset.checked_add(number));
                let (Some(offset), Some(end)) = (offset, end) else {
                    return Err(reader.fail("a page beyond 64 bits"));
                };
                if distance >= 0 {
                    origin.end = end;
                }
                Place::At {
                    offset,
                    length: number,
                }
            }
            _ => return Err(reader.fail("a page at no known kind of place")),
        };
        Ok(Self {
            column,
            is_whole: head & WHOLE != 0,
            place,
        })
    }
}

fn take_rows<'a>(
    reader: &mut Reader<'a>,
    rows: &mut Vec<(u32, u32)>,
    step: impl Fn(&mut Reader<'a>) -> Result<i64, Malformed>,
) -> Result<(), Malformed> {
    let runs = reader.count(2)?;
    let mut at = 0i64;
    for _ in 0..runs {
        let step = step(reader)?;
        let count = reader.varint_u32()?;
        if step < 0 || count == 0 {
            return Err(reader.fail("stretches of rows that do not ascend"));
        }
        let first = at.saturating_add(step);
        at = first.saturating_add(i64::from(count));
        let row = u32::try_from(first)
            .ok()
            .filter(|_| u32::try_from(at).is_ok());
        rows.push((
            row.ok_or_else(|| reader.fail("rows beyond 32 bits"))?,
            count,
        ));
    }
    Ok(())
}

/// How many rows a column has, from the section of columns.
fn rows_of(columns: &[u8], column: u32, reader: &Reader<'_>) -> Result<u32, Malformed> {
    let at = 4 + column as usize * COLUMN_BYTES + 12;
    let rows = columns.get(at..at + 4).map(Reader::new);
    match rows {
        Some(mut rows) => rows.u32(),
        None => Err(reader.fail("a page of a column that is not there")),
    }
}

fn shared_page(shared: &[u8], number: u32, reader: &Reader<'_>) -> Result<(u64, u64), Malformed> {
    let at = 4 + number as usize * SHARED_PAGE_BYTES;
    let Some(row) = shared.get(at..at + SHARED_PAGE_BYTES) else {
        return Err(reader.fail("a shared page that is not there"));
    };
    let mut row = Reader::new(row);
    Ok((row.u64()?, u64::from(row.u32()?)))
}
