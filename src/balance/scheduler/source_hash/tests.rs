use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn server(number: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + u8::try_from(number).unwrap()], 2811))
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn choose(hash: &SourceHash, weights: &[u32], client: IpAddr) -> Option<usize> {
    let fit = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
    hash.choose(client, fit.map(|(index, weight)| (index, Load { weight: *weight, active: 0 })))
}

#[test]
fn the_hash_is_the_same_on_every_balancer_and_build() {
    let hash = SourceHash::new(&[server(0), server(1), "[2001:db8::13]:2811".parse().unwrap()]);
    #[rustfmt::skip]
    let table: &[(&str, u64, usize)] = &[
        ("192.0.2.200", 13_403_805_912_166_287_662, 2),
        ("192.0.2.201", 15_175_628_306_381_010_089, 2),
        ("198.51.100.7", 5_128_935_327_466_719_588, 0),
        ("2001:db8::1", 15_582_809_583_807_991_770, 1),
        ("2001:db8:0:1::1", 9_752_874_877_314_008_212, 2),
    ];
    let found: Vec<_> = table
        .iter()
        .map(|(client, ..)| {
            let address = client.parse().unwrap();
            (*client, hash_address(address), choose(&hash, &[1, 1, 1], address).unwrap())
        })
        .collect();
    assert_eq!(found, table, "a change here moves clients during an upgrade");
}

#[test]
fn a_v4_mapped_client_is_the_v4_client() {
    let v4 = Ipv4Addr::new(192, 0, 2, 200);
    assert_eq!(hash_address(v4.into()), hash_address(v4.to_ipv6_mapped().into()));
    assert_ne!(hash_address(v4.into()), hash_address(Ipv6Addr::from_bits(v4.to_bits().into()).into()));
}

fn waiting_time(hash: u64) -> u64 {
    waiting_time_unless(hash, |_| false).expect("nothing is too much")
}

#[test]
fn a_waiting_time_is_the_logarithm_to_a_millionth() {
    #[rustfmt::skip]
    let table: &[(u64, f64)] = &[
        (0,                 64.0),
        (1,                 64.0),
        (1 << 63,           1.0),
        (3 << 62,           0.415_037_499),
        (1 << 60,           4.0),
        (u64::MAX / 3,      1.584_962_501),
        (u64::MAX / 1000,   9.965_784_285),
    ];
    for &(hash, expected) in table {
        let found = waiting_time(hash);
        #[expect(clippy::cast_precision_loss, reason = "38 bits fit a double")]
        let bits = found as f64 / f64::from(1 << 16).powi(2);
        assert!((bits - expected).abs() < 1e-6, "{hash}: {bits}");
    }
    assert!(waiting_time(u64::MAX) >= 1, "an infinite weight would win with 0");
}

#[test]
fn clients_spread_as_the_weights_say() {
    #[rustfmt::skip]
    let table: &[&[u32]] = &[&[1, 1, 1], &[2, 1, 1], &[65_535, 65_535], &[10, 1], &[100, 300, 600]];
    for weights in table {
        let hash = SourceHash::new(&(0..weights.len()).map(server).collect::<Vec<_>>());
        let mut found = vec![0_u32; weights.len()];
        for number in 0..20_000 {
            found[choose(&hash, weights, client(number)).unwrap()] += 1;
        }
        for (found, weight) in found.iter().zip(*weights) {
            let expected = 20_000.0 * f64::from(*weight) / f64::from(weights.iter().sum::<u32>());
            // Five standard deviations of a binomial at its widest.
            assert!(
                (f64::from(*found) - expected).abs() < 5.0 * (20_000.0_f64 / 4.0).sqrt(),
                "{weights:?}: {found}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Giving a draw up early changes nobody's server.
    #[test]
    fn the_least_draw_by_weight_wins_and_of_equals_the_first(
        weights in proptest::collection::vec(prop_oneof![1_u32..5, Just(u32::MAX), 1_u32..=u32::MAX], 1..20),
        client in any::<u32>(),
    ) {
        let hash = SourceHash::new(&(0..weights.len()).map(server).collect::<Vec<_>>());
        let client = IpAddr::from(Ipv4Addr::from(client));
        let draws = hash.identities.iter().map(|identity| waiting_time(mix(hash_address(client) ^ identity)));
        let by_weight = |one: &(u64, u32), other: &(u64, u32)| {
            (u128::from(one.0) * u128::from(other.1)).cmp(&(u128::from(other.0) * u128::from(one.1)))
        };
        let least = draws.zip(weights.iter().copied()).enumerate().min_by(|one, other| by_weight(&one.1, &other.1));
        prop_assert_eq!(choose(&hash, &weights, client), least.map(|(index, _)| index));
    }

    #[test]
    fn a_draw_is_given_up_exactly_where_it_is_too_much(hash in any::<u64>(), off in -3_i64..=3) {
        let draw = waiting_time(hash);
        let most = draw.saturating_add_signed(off);
        prop_assert_eq!(waiting_time_unless(hash, |least| least > most), (draw <= most).then_some(draw));
    }

    #[test]
    fn removal_moves_only_the_clients_of_the_one_that_left(
        weights in proptest::collection::vec(1_u32..=100, 2..=8),
        gone in any::<proptest::sample::Index>(),
        clients in proptest::collection::vec(any::<u128>(), 1..50),
    ) {
        let hash = SourceHash::new(&(0..weights.len()).map(server).collect::<Vec<_>>());
        let gone = gone.index(weights.len());
        let mut left = weights.clone();
        left[gone] = 0;
        for bits in clients {
            let client = IpAddr::V6(Ipv6Addr::from_bits(bits));
            let before = choose(&hash, &weights, client).unwrap();
            let after = choose(&hash, &left, client).unwrap();
            prop_assert_eq!(before == after, before != gone);
        }
    }

    #[test]
    fn a_higher_weight_only_wins_clients(
        weights in proptest::collection::vec(1_u32..=100, 2..=8),
        raised in any::<proptest::sample::Index>(),
        clients in proptest::collection::vec(any::<u128>(), 1..50),
    ) {
        let hash = SourceHash::new(&(0..weights.len()).map(server).collect::<Vec<_>>());
        let raised = raised.index(weights.len());
        let mut more = weights.clone();
        more[raised] *= 2;
        for bits in clients {
            let client = IpAddr::V6(Ipv6Addr::from_bits(bits));
            let before = choose(&hash, &weights, client).unwrap();
            let after = choose(&hash, &more, client).unwrap();
            prop_assert!(after == before || after == raised);
        }
    }

    #[test]
    fn the_order_of_the_configuration_does_not_matter(bits in any::<u128>()) {
        let client = IpAddr::V6(Ipv6Addr::from_bits(bits));
        let forward = SourceHash::new(&[server(0), server(1), server(2)]);
        let backward = SourceHash::new(&[server(2), server(1), server(0)]);
        let chosen = choose(&forward, &[1, 2, 3], client).unwrap();
        prop_assert_eq!(choose(&backward, &[3, 2, 1], client).unwrap(), 2 - chosen);
    }
}
