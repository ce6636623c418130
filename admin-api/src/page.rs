//! Paging and sorting of lists. `offset` is the number of the page, from 0.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::lenient::{Flag, Number, Text};
use crate::problem::Problem;

/// Items of a page where nothing else is asked for.
const DEFAULT_LIMIT: usize = 25;
/// Most items of one page.
const MAX_LIMIT: i64 = 100_000;

/// What part of a list is wanted, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    sort: Option<String>,
    descending: bool,
    limit: usize,
    offset: usize,
}

/// As it stands in a body.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PagingSorting {
    /// What to sort by.
    #[serde(default)]
    pub sort: Option<Text>,
    /// From the greatest to the least.
    #[serde(default)]
    pub desc: Option<Flag>,
    /// Most items.
    #[serde(default)]
    pub limit: Option<Number>,
    /// Number of the page.
    #[serde(default)]
    pub offset: Option<Number>,
}

/// What an answer says about its page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PagingMetadata {
    /// In the whole list.
    pub total_items: usize,
    /// In this page.
    pub items: usize,
    /// Most in a page.
    pub limit: usize,
    /// Number of this page.
    pub offset: usize,
}

impl Page {
    /// From the query of a call.
    ///
    /// # Errors
    /// 400 for values that make no page.
    pub fn of(call: &Call) -> Result<Self, Problem> {
        let number = |name: &str| match call.query(name) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(|n| Some(Number(n))).map_err(|_| Problem::invalid(name, "typeMismatch"))
            }
        };
        let flag = match call.query("desc") {
            None => None,
            Some(text) => Some(Flag(
                crate::lenient::flag(text).ok_or_else(|| Problem::invalid("desc", "typeMismatch"))?,
            )),
        };
        Self::from_body(&PagingSorting {
            sort: call.query("sort").map(Text::from),
            desc: flag,
            limit: number("limit")?,
            offset: number("offset")?,
        })
    }

    /// From a body.
    ///
    /// # Errors
    /// 400 for values that make no page.
    pub fn from_body(asked: &PagingSorting) -> Result<Self, Problem> {
        let wrong = |rule: &str| Problem::bad_request("invalid_pagination_properties").with(rule);
        let limit = asked.limit.map_or(DEFAULT_LIMIT as i64, |limit| limit.0);
        let offset = asked.offset.map_or(0, |offset| offset.0);
        if limit < 1 {
            return Err(wrong("Page size must not be less than one"));
        }
        let offset = usize::try_from(offset).map_err(|_| wrong("Page index must not be less than zero"))?;
        Ok(Self {
            sort: asked.sort.clone().map(|sort| sort.0).filter(|sort| !sort.is_empty()),
            descending: asked.desc.is_some_and(|desc| desc.0),
            limit: limit.min(MAX_LIMIT) as usize,
            offset,
        })
    }

    /// Sorts by what was asked for and cuts the page out. `key` gives an item's value for a sort key.
    ///
    /// # Errors
    /// 400 `invalid_sort_properties` for a key that is not among `keys`.
    pub fn cut<T>(
        &self,
        mut items: Vec<T>,
        keys: &[&str],
        key: impl Fn(&T, &str) -> SortKey,
    ) -> Result<(Vec<T>, PagingMetadata), Problem> {
        if let Some(sort) = &self.sort {
            if !keys.contains(&sort.as_str()) {
                return Err(Problem::bad_request("invalid_sort_properties").with(sort));
            }
            items.sort_by_cached_key(|item| key(item, sort));
            if self.descending {
                items.reverse();
            }
        }
        let total_items = items.len();
        let skipped = self.offset.saturating_mul(self.limit);
        let page: Vec<T> = items.into_iter().skip(skipped).take(self.limit).collect();
        let metadata =
            PagingMetadata { total_items, items: page.len(), limit: self.limit, offset: self.offset };
        Ok((page, metadata))
    }
}

/// What items are compared by: numbers as numbers, texts without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Before everything.
    Nothing,
    /// A number or a time.
    Number(i64),
    /// A text.
    Text(String),
}

impl SortKey {
    /// A text, made ready to be compared.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_lowercase())
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SortKey {
    const fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_counts_pages() {
        let asked = |limit, offset| PagingSorting {
            limit: Some(Number(limit)),
            offset: Some(Number(offset)),
            sort: Some("x".into()),
            desc: None,
        };
        let cut = |limit, offset| {
            let page = Page::from_body(&asked(limit, offset))?;
            page.cut(vec![3, 1, 2, 5, 4], &["x"], |item, _| SortKey::Number(*item)).map(|(items, _)| items)
        };
        assert_eq!(cut(2, 1).unwrap(), [3, 4]);
        assert_eq!(cut(2, 9).unwrap(), [0; 0]);
        assert_eq!(cut(0, 0).unwrap_err().code.unwrap(), "invalid_pagination_properties");
        assert_eq!(cut(1, -1).unwrap_err().code.unwrap(), "invalid_pagination_properties");
        let page = Page::from_body(&asked(1, 0)).unwrap();
        let refused = page.cut(vec![1], &["y"], |_, _| SortKey::Nothing).unwrap_err();
        assert_eq!(refused.code.unwrap(), "invalid_sort_properties");
    }
}
