// @generated automatically by Diesel CLI.

diesel::table! {
    clock (id) {
        id -> Integer,
        seen -> BigInt,
    }
}

diesel::table! {
    conflict (key, digest) {
        key -> Binary,
        digest -> Binary,
        source -> Text,
        event_id -> Text,
        content_type -> Nullable<Text>,
        headers -> Text,
        received_at -> BigInt,
        at -> BigInt,
        body -> Binary,
    }
}

diesel::table! {
    dedup (seq) {
        seq -> BigInt,
        key -> Binary,
        guard -> Nullable<Binary>,
        digest -> Binary,
        source -> Text,
        expires_at -> BigInt,
        message -> Nullable<Binary>,
        replay -> Nullable<Binary>,
        id_class -> Nullable<Integer>,
        drop_same_bytes -> Nullable<BigInt>,
    }
}

diesel::table! {
    event (seq) {
        seq -> BigInt,
        key -> Binary,
        source -> Text,
        event_id -> Text,
        event_type -> Nullable<Text>,
        content_type -> Nullable<Text>,
        headers -> Text,
        received_at -> BigInt,
        body -> Binary,
        conflict_of -> Nullable<Binary>,
        same_bytes_as -> Nullable<Binary>,
        verified_by -> Nullable<Text>,
    }
}

diesel::table! {
    fetched_key (source, name) {
        source -> Text,
        name -> Text,
        place -> Binary,
        answer -> Binary,
        at -> BigInt,
    }
}

diesel::table! {
    instance (id) {
        id -> Binary,
        alive_until -> BigInt,
        lease_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    learned_secret (source) {
        source -> Text,
        secret -> Nullable<Binary>,
        at -> BigInt,
    }
}

diesel::table! {
    outbox (seq, sink) {
        seq -> BigInt,
        sink -> Text,
        key -> Binary,
        owner -> Binary,
        bytes -> Integer,
        attempts -> Integer,
        since -> BigInt,
        due_at -> BigInt,
        order_key -> Nullable<BigInt>,
        republished -> Nullable<Binary>,
    }
}

diesel::table! {
    parked (seq, sink) {
        seq -> BigInt,
        sink -> Text,
        reason -> Text,
        at -> BigInt,
        order_key -> Nullable<BigInt>,
    }
}

diesel::table! {
    published (at, seq, sink) {
        seq -> BigInt,
        at -> BigInt,
        sink -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    clock,
    conflict,
    dedup,
    event,
    fetched_key,
    instance,
    learned_secret,
    outbox,
    parked,
    published,
);
