"""Finds, for one product of the shop, the competing product that its price is compared with."""
