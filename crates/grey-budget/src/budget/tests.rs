//! Facts about budgets, components, reservations and waiting.
