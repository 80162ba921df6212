//! What the store costs, from what is asked of it and what lies in it.
//!
//! *Control thread.* An estimate by the list prices in the settings: it knows nothing of discounts, of traffic that
//! leaves a region, or of what others keep in the bucket.

/// Operations with a count of their own, in the order of [`NAMES`].
pub(super) const OPERATIONS: usize = 5;
/// Their names on the page.
pub(super) const NAMES: [&str; OPERATIONS] = ["put", "get", "list", "delete", "head"];
/// Seconds of a month of 30 days.
const MONTH_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
/// Requests that a price is for.
const REQUESTS: f64 = 1000.0;
/// Bytes of the gigabyte that providers bill.
const GIGABYTE: f64 = (1u64 << 30) as f64;

/// *Immutable, shared.* List prices of a provider, in dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of 1,000 PUT, COPY, POST or LIST requests.
    pub put_per_1000: f64,
    /// Of 1,000 GET or HEAD requests.
    pub get_per_1000: f64,
    /// Of a gigabyte (2^30 bytes) for a month.
    pub storage_gb_month: f64,
}

impl Prices {
    /// Dollars of a month at so many PUT or LIST requests a second.
    pub(crate) fn writes(&self, rate: f64) -> f64 {
        rate * MONTH_SECONDS / REQUESTS * self.put_per_1000
    }

    /// Dollars of a month at so many GET or HEAD requests a second.
    pub(crate) fn reads(&self, rate: f64) -> f64 {
        rate * MONTH_SECONDS / REQUESTS * self.get_per_1000
    }

    /// Dollars of a month at so many DELETE requests a second: they are free everywhere.
    pub(crate) fn deletes(&self, _: f64) -> f64 {
        0.0
    }

    /// Dollars of a month at `rates` requests a second, by operation.
    pub(super) fn requests(
        &self,
        [put, get, list, delete, head]: [f64; OPERATIONS],
    ) -> [f64; OPERATIONS] {
        [
            self.writes(put),
            self.reads(get),
            self.writes(list),
            self.deletes(delete),
            self.reads(head),
        ]
    }

    /// Dollars of a month for keeping `bytes`.
    pub(super) fn storage(&self, bytes: u64) -> f64 {
        bytes as f64 / GIGABYTE * self.storage_gb_month
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_puts_a_second_and_a_terabyte_cost_what_the_price_list_says() {
        let prices = Prices {
            put_per_1000: 0.005,
            get_per_1000: 0.0004,
            storage_gb_month: 0.023,
        };
        let [put, get, list, delete, head] = prices.requests([4.0, 10.0, 0.1, 9.0, 1.0]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(put, 51.84);
        close(get, 10.368);
        close(list, 1.296);
        close(delete, 0.0);
        close(head, 1.0368);
        close(prices.storage(1 << 40), 23.552);
    }
}
