//! How much goes into a page.

/// Cuts what was found, one more than asked for if there are as many, to as many as were asked for and as have no more bytes
/// together than allowed, but for the first, which always goes; tells whether there are more.
pub(super) fn cut<T>(found: &mut Vec<T>, limit: u32, most: u64, size: impl Fn(&T) -> usize) -> bool {
    let mut bytes = 0_u64;
    let fits = |one: &&T| {
        bytes += size(one) as u64;
        bytes <= most
    };
    let told = found.iter().take(limit as usize).take_while(fits).count().max(1);
    let more = found.len() > told;
    found.truncate(told);
    more
}
