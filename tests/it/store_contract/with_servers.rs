//! The contract on PostgreSQL.

mod postgres {
    crate::store_contract::contract!(crate::store_contract::Postgres);
}
