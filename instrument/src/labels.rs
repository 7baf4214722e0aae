//! Label sets: the typed values a family is looked up by.

use std::fmt::{self, Display};

/// Label values of one family, in a fixed order. Use [`labels!`](crate::labels) to make one.
pub trait LabelSet {
    /// What families of this label set are declared with: the same type for every lifetime.
    type Schema: 'static;
    /// The label names.
    const NAMES: &'static [&'static str];
    /// Writes each value, in the order of [`Self::NAMES`].
    fn write(&self, values: &mut LabelValues<'_>);
}

impl LabelSet for () {
    type Schema = ();
    const NAMES: &'static [&'static str] = &[];
    fn write(&self, _values: &mut LabelValues<'_>) {}
}

/// Declares a struct of label values and implements [`LabelSet`] for it.
///
/// Values are anything that is text (`&str`, `String`, `Arc<str>`), a whole number, or implements
/// `Display`. Text is not copied: a struct with a lifetime borrows it.
///
/// ```
/// use barograph_instrument::{Registry, labels};
///
/// labels! {
///     /// What a request is counted by.
///     pub struct Request<'a> { method: &'a str, code: u16 }
/// }
///
/// let registry = Registry::new();
/// let requests = registry.counter_family::<Request<'_>>("http_requests_total", "Requests served.");
/// let method = String::from("GET");
/// requests.with(&Request { method: &method, code: 200 }).inc();
/// ```
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(<$lifetime:lifetime>)? {
            $($(#[$field_meta:meta])* $field:ident : $type:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name $(<$lifetime>)? {
            $(
                #[doc = concat!("The label `", stringify!($field), "`.")]
                $(#[$field_meta])*
                $vis $field: $type,
            )*
        }
        impl $(<$lifetime>)? $crate::LabelSet for $name $(<$lifetime>)? {
            type Schema = $crate::labels!(@schema $name $($lifetime)?);
            const NAMES: &'static [&'static str] =
                &[$($crate::label_value::name(stringify!($field))),*];
            fn write(&self, values: &mut $crate::LabelValues<'_>) {
                #[allow(unused_imports)]
                use $crate::label_value::{AsDisplay as _, AsNumber as _, AsText as _};
                $((&&&$crate::label_value::Value(&self.$field)).write_to(values);)*
            }
        }
    };
    (@schema $name:ident) => { $name };
    (@schema $name:ident $lifetime:lifetime) => { $name<'static> };
}

/// Ends each value in a key. No UTF-8 text has this byte, so no two lists of values share a key.
const END: u8 = 0xff;

/// Takes the values of a label set.
pub struct LabelValues<'k> {
    key: &'k mut Vec<u8>,
}

impl<'k> LabelValues<'k> {
    pub(crate) fn new(key: &'k mut Vec<u8>) -> Self {
        key.clear();
        Self { key }
    }

    /// Takes a value that is text.
    #[inline]
    pub fn push_str(&mut self, value: &str) {
        self.key.extend_from_slice(value.as_bytes());
        self.key.push(END);
    }

    /// Takes a value as it displays itself.
    pub fn push_display(&mut self, value: &dyn Display) {
        struct Append<'k>(&'k mut Vec<u8>);
        impl fmt::Write for Append<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        // A value that fails to display itself is cut off there.
        let _ = fmt::Write::write_fmt(&mut Append(self.key), format_args!("{value}"));
        self.key.push(END);
    }
}

/// The values a key was made of.
pub(crate) fn values_of(key: &[u8]) -> impl Iterator<Item = &str> {
    let values = key
        .strip_suffix(&[END])
        .map(|key| key.split(|byte| *byte == END));
    values
        .into_iter()
        .flatten()
        .map(|value| std::str::from_utf8(value).unwrap_or_default())
}

/// How `labels!` finds the cheapest way to write a value. Not for use by hand.
///
/// Method look-up takes the first of the three traits that fits, since each is implemented for one
/// reference less than the one before.
#[doc(hidden)]
pub mod label_value {
    use super::LabelValues;

    /// The name of a field without the `r#` that makes a keyword one (`r#type`).
    pub const fn name(field: &'static str) -> &'static str {
        match field.as_bytes() {
            [b'r', b'#', ..] => field.split_at(2).1,
            _ => field,
        }
    }

    #[derive(Clone, Copy)]
    pub struct Value<'v, T: ?Sized>(pub &'v T);

    pub trait AsText {
        fn write_to(&self, values: &mut LabelValues<'_>);
    }
    pub trait AsNumber {
        fn write_to(&self, values: &mut LabelValues<'_>);
    }
    pub trait AsDisplay {
        fn write_to(&self, values: &mut LabelValues<'_>);
    }

    impl<T: AsRef<str> + ?Sized> AsText for &&Value<'_, T> {
        #[inline]
        fn write_to(&self, values: &mut LabelValues<'_>) {
            values.push_str(self.0.as_ref());
        }
    }
    impl<T: itoa::Integer + Copy> AsNumber for &Value<'_, T> {
        #[inline]
        fn write_to(&self, values: &mut LabelValues<'_>) {
            values.push_str(itoa::Buffer::new().format(*self.0));
        }
    }
    impl<T: std::fmt::Display + ?Sized> AsDisplay for Value<'_, T> {
        fn write_to(&self, values: &mut LabelValues<'_>) {
            values.push_display(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    labels! {
        struct Mixed<'a> { text: &'a str, owned: String, number: i64, shown: bool, r#type: f64 }
    }

    #[test]
    fn every_kind_of_value_is_written() {
        let mut key = Vec::new();
        let labels = Mixed {
            text: "a",
            owned: "b\n".into(),
            number: -5,
            shown: true,
            r#type: 0.5,
        };
        labels.write(&mut LabelValues::new(&mut key));
        assert_eq!(
            values_of(&key).collect::<Vec<_>>(),
            ["a", "b\n", "-5", "true", "0.5"]
        );
        assert_eq!(Mixed::NAMES, ["text", "owned", "number", "shown", "type"]);
    }

    #[test]
    fn no_two_lists_of_values_share_a_key() {
        let mut keys = std::collections::BTreeSet::new();
        let lists: [&[&str]; 6] = [
            &["ab", "c"],
            &["a", "bc"],
            &["abc"],
            &["abc", ""],
            &["", "abc"],
            &[],
        ];
        for list in lists {
            let mut key = Vec::new();
            let mut values = LabelValues::new(&mut key);
            for value in list {
                values.push_str(value);
            }
            assert_eq!(values_of(&key).collect::<Vec<_>>(), list);
            assert!(keys.insert(key), "{list:?}");
        }
    }
}
