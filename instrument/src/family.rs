//! Families: one metric per combination of label values.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Label values of one family, in a fixed order. Use [`labels!`](crate::labels) to make one.
pub trait LabelSet {
    /// The label names.
    const NAMES: &'static [&'static str];
    /// Calls `visit` with each value, in the order of [`Self::NAMES`].
    fn visit(&self, visit: &mut dyn FnMut(&str));
}

impl LabelSet for () {
    const NAMES: &'static [&'static str] = &[];
    fn visit(&self, _visit: &mut dyn FnMut(&str)) {}
}

/// Declares a struct of label values and implements [`LabelSet`] for it. Values are anything that
/// implements `Display`.
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $(#[doc = concat!("The label `", stringify!($field), "`.")] $vis $field: $type,)*
        }
        impl $crate::LabelSet for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];
            fn visit(&self, visit: &mut dyn FnMut(&str)) {
                $(visit(&self.$field.to_string());)*
            }
        }
    };
}

/// A metric per label set. Cloning shares it.
pub struct Family<L, M> {
    inner: Arc<FamilyCells<M>>,
    labels: std::marker::PhantomData<fn(L)>,
}

struct FamilyCells<M> {
    make: Box<dyn Fn() -> M + Send + Sync>,
    children: RwLock<HashMap<Vec<String>, M>>,
}

impl<L, M> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            labels: std::marker::PhantomData,
        }
    }
}

impl<L: LabelSet, M: Clone> Family<L, M> {
    pub(crate) fn new(make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(FamilyCells {
                make: Box::new(make),
                children: RwLock::default(),
            }),
            labels: std::marker::PhantomData,
        }
    }

    /// The metric of these label values, made at the first call. Hold it where the values are
    /// known: updating a held metric needs no look-up.
    pub fn with(&self, labels: &L) -> M {
        let mut key = Vec::with_capacity(L::NAMES.len());
        labels.visit(&mut |value| key.push(value.to_owned()));
        let children = self
            .inner
            .children
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = children.get(&key) {
            return metric.clone();
        }
        drop(children);
        let mut children = self
            .inner
            .children
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        children
            .entry(key)
            .or_insert_with(|| (self.inner.make)())
            .clone()
    }

    /// Forgets the metric of these label values. Returns whether there was one.
    pub fn remove(&self, labels: &L) -> bool {
        let mut key = Vec::with_capacity(L::NAMES.len());
        labels.visit(&mut |value| key.push(value.to_owned()));
        let mut children = self
            .inner
            .children
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        children.remove(&key).is_some()
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[String], &M)) {
        let children = self
            .inner
            .children
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = children.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        for (key, metric) in sorted {
            visit(key, metric);
        }
    }
}
