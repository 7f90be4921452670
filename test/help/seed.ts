/**
 * The seed of property tests that draw whole clusters: the same in every run unless SKY_PROPERTY_SEED says otherwise, so
 * that a failure is found again, and whoever hunts draws others. Used by property tests beside coordinator/core.
 */
export const seed = Number(process.env["SKY_PROPERTY_SEED"] ?? 1);
