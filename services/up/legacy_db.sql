-- The tables of the sample database `legacy_db`, as an older system might have left them; `sample_databases` fills them.
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text,
    active boolean NOT NULL,
    joined_at timestamptz NOT NULL
);
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers (id),
    placed_on date NOT NULL,
    amount numeric(12, 2) NOT NULL,
    status text NOT NULL,
    note text,
    details jsonb NOT NULL
);
CREATE INDEX orders_customer ON orders (customer_id);
