//! Typed tables over the store: scoped keys, versioned records, pages.
//!
//! A table is a constant: `const FUNCTIONS: Table<String, Function> = Table::new("lambda_functions");`. A record of a
//! [`large`](Table::large) table that is longer than a row goes on in rows of their own, apart from the table, which
//! are written, replaced and removed in the same commits as their record.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::RecordError;
use crate::key::encode_text_prefix;
use crate::limits::RANGE_ROWS_MAX;
use crate::record::{self, Head, Record};
use crate::store::prefix_end;
use crate::{Batch, Error, Expect, Found, Range, RawRow, Read, Rows, Scope, Space, Store, TableKey, Version, Watch};

/// Table, zero, key, part number -> part. No key begins another, so no record's parts lie among those of another.
pub(crate) const PARTS: Space = Space::new("record_parts");

/// Rows of one table, by typed key within a [`Scope`].
pub struct Table<K, V> {
    space: Space,
    splits: bool,
    types: PhantomData<fn(K) -> V>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<K, V> {
    pub key: K,
    pub value: V,
    /// For [`Batch::expect_version`].
    pub version: Version,
}

/// Rows in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K, V> {
    pub rows: Vec<Row<K, V>>,
    /// The key to go on after; absent behind the last row.
    pub next: Option<K>,
}

/// Which rows of a scope a page is cut from.
#[derive(Debug, Clone)]
pub struct Scan<K> {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: usize,
    reverse: bool,
    key: PhantomData<fn() -> K>,
}

impl<K: TableKey> Scan<K> {
    /// All rows, `limit` a page (at most [`RANGE_ROWS_MAX`]).
    pub fn all(limit: usize) -> Self {
        Self { prefix: Vec::new(), after: None, limit, reverse: false, key: PhantomData }
    }

    /// Only keys that have this next: the first member of a tuple, then the second, as often as is called.
    pub fn under<P: TableKey>(mut self, part: P::Ref<'_>) -> Self {
        P::encode(part, &mut self.prefix);
        self
    }

    /// Only keys whose next text starts so. Nothing can follow but `after` and `reversed`.
    pub fn starting_with(mut self, text: &str) -> Self {
        encode_text_prefix(text.as_bytes(), &mut self.prefix);
        self
    }

    /// Only keys behind this one, in the direction of the scan.
    pub fn after(mut self, key: K::Ref<'_>) -> Self {
        let mut after = Vec::new();
        K::encode(key, &mut after);
        self.after = Some(after);
        self
    }

    /// Whether a key is one that this scan can find.
    pub fn admits(&self, key: K::Ref<'_>) -> bool {
        let mut bytes = Vec::new();
        K::encode(key, &mut bytes);
        bytes.starts_with(&self.prefix)
    }

    /// From the greatest key down.
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    fn range(&self, space: Space, scope: &Scope) -> Range {
        let mut start = Vec::new();
        scope.encode(&mut start);
        let after = self.after.as_ref().map(|after| Bytes::from([start.as_slice(), after].concat()));
        start.extend_from_slice(&self.prefix);
        let mut range = Range::under(space, start, self.limit);
        range.reverse = self.reverse;
        match after {
            None => {}
            Some(after) if self.reverse => range.to = Some(range.to.map_or(after.clone(), |to| to.min(after))),
            Some(after) => range.from = range.from.max(successor(&after)),
        }
        range
    }
}

/// The first key behind `key`.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

impl<K: TableKey, V: Record> Table<K, V> {
    /// A table whose records fit a row: [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) as JSON.
    pub const fn new(name: &'static str) -> Self {
        Self { space: Space::new(name), splits: false, types: PhantomData }
    }

    /// A table whose records may be as long as [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX). Each write pays
    /// for it by looking for the parts that the last one left.
    pub const fn large(name: &'static str) -> Self {
        Self { space: Space::new(name), splits: true, types: PhantomData }
    }

    pub async fn get(&self, store: &Store, scope: &Scope, key: K::Ref<'_>) -> Result<Option<Row<K, V>>, Error> {
        let row = self.row(store, self.key(scope, key)).await?;
        Ok(row.map(unscoped))
    }

    /// As [`get`](Self::get), but without a copy of one's own: a record that is read often is in memory and decoded.
    pub async fn get_shared(&self, store: &Store, scope: &Scope, key: K::Ref<'_>) -> Result<Option<Arc<V>>, Error>
    where
        V: Send + Sync + 'static,
    {
        let key = self.key(scope, key);
        let wrong = |source| Error::Decode { space: self.space, key: key.clone(), source };
        // The parts of a longer record are not in memory.
        let decode = |value: &[u8]| match Head::read(value) {
            Ok(head) if head.part_count > 0 => Ok(None),
            head => head.and_then(|head| head.decode(&[])).map(Some).map_err(wrong),
        };
        if let Some(record) = store.cached(self.space, &key, decode)? {
            return Ok(Some(record));
        }
        Ok(self.row(store, key).await?.map(|row| Arc::new(row.value)))
    }

    /// In the order of `keys`, of which there are at most [`READS_MAX`](crate::limits::READS_MAX). All at one
    /// snapshot, but for records that are longer than a row: those are as they are a moment later.
    pub async fn get_many(
        &self,
        store: &Store,
        scope: &Scope,
        keys: &[K::Ref<'_>],
    ) -> Result<Vec<Option<Row<K, V>>>, Error> {
        let keys: Vec<_> = keys.iter().map(|key| self.key(scope, *key)).collect();
        let found = store.read(keys.iter().map(|key| Read::Get { space: self.space, key: key.clone() }).collect());
        let mut rows = Vec::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(found.await?) {
            rows.push(match found.into_value() {
                None => None,
                Some(found) => {
                    let raw = RawRow { key: key.clone(), value: found.value, version: found.version };
                    self.whole(store, raw).await?.map(unscoped)
                }
            });
        }
        Ok(rows)
    }

    pub async fn page(&self, store: &Store, scope: &Scope, scan: Scan<K>) -> Result<Page<K, V>, Error> {
        let rows = store.range(scan.range(self.space, scope)).await?;
        let Page { rows, next } = self.complete(store, rows).await?;
        Ok(Page { rows: rows.into_iter().map(unscoped).collect(), next: next.map(|(_, key)| key) })
    }

    /// The rows of all scopes, for reconcilers: those behind `after`, `limit` at most.
    pub async fn scan_all(
        &self,
        store: &Store,
        after: Option<&(Scope, K)>,
        limit: usize,
    ) -> Result<Page<(Scope, K), V>, Error> {
        let from = after.map_or(Bytes::new(), |(scope, key)| successor(&self.key(scope, key.as_key())));
        let rows = store.range(Range { space: self.space, from, to: None, limit, reverse: false }).await?;
        self.complete(store, rows).await
    }

    /// Hints of changes in one scope.
    pub fn watch(&self, store: &Store, scope: &Scope) -> Watch {
        let mut prefix = Vec::new();
        scope.encode(&mut prefix);
        store.watch(self.space, prefix)
    }

    /// Hints of changes in all scopes.
    pub fn watch_all(&self, store: &Store) -> Watch {
        store.watch(self.space, Bytes::new())
    }

    /// Whose row a key that a [`Watch`] gave is.
    pub fn parse_key(&self, key: &Bytes) -> Result<(Scope, K), Error> {
        let mut rest: &[u8] = key;
        match (Scope::decode(&mut rest), K::decode(&mut rest)) {
            (Some(scope), Some(key)) if rest.is_empty() => Ok((scope, key)),
            _ => Err(Error::Key { space: self.space, key: key.clone() }),
        }
    }

    /// The key of a row as it is stored, for what must be told apart by record.
    pub fn row_key(&self, scope: &Scope, key: K::Ref<'_>) -> Vec<u8> {
        [self.space.name().as_bytes(), &[0], &self.key(scope, key)].concat()
    }

    fn key(&self, scope: &Scope, key: K::Ref<'_>) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        scope.encode(&mut bytes);
        K::encode(key, &mut bytes);
        bytes.into()
    }

    /// Where the parts of a record begin.
    fn parts_key(&self, key: &[u8]) -> Vec<u8> {
        [self.space.name().as_bytes(), &[0], key].concat()
    }

    async fn row(&self, store: &Store, key: Bytes) -> Result<Option<Row<(Scope, K), V>>, Error> {
        let found = store.read(vec![Read::Get { space: self.space, key: key.clone() }]).await?;
        let Some(head) = found.into_iter().next().and_then(Found::into_value) else { return Ok(None) };
        self.whole(store, RawRow { key, value: head.value, version: head.version }).await
    }

    /// Reads a record and its parts at one snapshot.
    async fn row_with_parts(&self, store: &Store, key: Bytes) -> Result<Option<Row<(Scope, K), V>>, Error> {
        let head = Read::Get { space: self.space, key: key.clone() };
        let parts = Read::Range(Range::under(PARTS, self.parts_key(&key), RANGE_ROWS_MAX));
        let mut found = store.read(vec![head, parts]).await?.into_iter();
        let Some(head) = found.next().and_then(Found::into_value) else { return Ok(None) };
        let parts = found.next().map(Found::into_rows).unwrap_or_default().rows;
        let parts: Vec<&[u8]> = parts.iter().map(|part| &*part.value).collect();
        let decoded = Head::read(&head.value).and_then(|head| head.decode(&parts));
        let value = decoded.map_err(|source| Error::Decode { space: self.space, key: key.clone(), source })?;
        Ok(Some(Row { key: self.parse_key(&key)?, value, version: head.version }))
    }

    /// Completes a row whose parts, if it has any, were not read with it. They may have changed since, so such a row
    /// is read anew, as it is now: absent if it was deleted meanwhile.
    async fn whole(&self, store: &Store, raw: RawRow) -> Result<Option<Row<(Scope, K), V>>, Error> {
        let wrong = |source| Error::Decode { space: self.space, key: raw.key.clone(), source };
        let head = Head::read(&raw.value).map_err(wrong)?;
        if head.part_count > 0 {
            return self.row_with_parts(store, raw.key.clone()).await;
        }
        let value = head.decode(&[]).map_err(wrong)?;
        Ok(Some(Row { key: self.parse_key(&raw.key)?, value, version: raw.version }))
    }

    async fn complete(&self, store: &Store, found: Rows) -> Result<Page<(Scope, K), V>, Error> {
        let last = found.rows.last().filter(|_| found.more);
        let next = last.map(|last| self.parse_key(&last.key)).transpose()?;
        let mut rows = Vec::with_capacity(found.rows.len());
        for raw in found.rows {
            rows.extend(self.whole(store, raw).await?);
        }
        Ok(Page { rows, next })
    }
}

fn unscoped<K, V>(row: Row<(Scope, K), V>) -> Row<K, V> {
    Row { key: row.key.1, value: row.value, version: row.version }
}

/// The typed steps. An expectation is counted like those of `expect_raw` in [`Outcome::Conflict`](crate::Outcome).
impl Batch {
    pub fn put<K: TableKey, V: Record>(self, table: &Table<K, V>, scope: &Scope, key: K::Ref<'_>, value: &V) -> Self {
        let key = table.key(scope, key);
        let encoded = match record::encode(value, table.splits) {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(long)) => return self.refuse(Error::TooLarge { what: "record", size: long.size, max: long.max }),
            Err(source) => return self.refuse(Error::Encode { space: table.space, source }),
        };
        let mut batch = self.sweep_parts(table, &key);
        for (number, part) in (0_u8..).zip(&encoded.parts) {
            let mut part_key = table.parts_key(&key);
            part_key.push(number);
            batch = batch.put_raw(PARTS, part_key, part);
        }
        batch.put_raw(table.space, key, &encoded.head)
    }

    pub fn delete<K: TableKey, V: Record>(self, table: &Table<K, V>, scope: &Scope, key: K::Ref<'_>) -> Self {
        let key = table.key(scope, key);
        self.sweep_parts(table, &key).delete_raw(table.space, key)
    }

    pub fn expect_absent<K: TableKey, V: Record>(self, table: &Table<K, V>, scope: &Scope, key: K::Ref<'_>) -> Self {
        self.expect_raw(table.space, table.key(scope, key), Expect::Absent)
    }

    pub fn expect_present<K: TableKey, V: Record>(self, table: &Table<K, V>, scope: &Scope, key: K::Ref<'_>) -> Self {
        self.expect_raw(table.space, table.key(scope, key), Expect::Present)
    }

    pub fn expect_version<K: TableKey, V: Record>(
        self,
        table: &Table<K, V>,
        scope: &Scope,
        key: K::Ref<'_>,
        version: Version,
    ) -> Self {
        self.expect_raw(table.space, table.key(scope, key), Expect::Version(version))
    }

    fn sweep_parts<K: TableKey, V: Record>(self, table: &Table<K, V>, key: &[u8]) -> Self {
        if !table.splits {
            return self;
        }
        let from = table.parts_key(key);
        match prefix_end(&from) {
            Some(to) => self.sweep(PARTS, from.into(), to),
            None => self.refuse(Error::Encode { space: table.space, source: RecordError::Parts }),
        }
    }
}
