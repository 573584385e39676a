"""
The words from which the example catalogue is made.

Brands and suppliers are invented; device names are those that accessories are sold for.
"""

from __future__ import annotations

from typing import NamedTuple

BRANDS = (
    "Orvane", "Kestrel", "Brevik", "Corvia", "Tarnhill", "Lumenor", "Pelagio", "Quillon", "Rundale", "Sorrel",
    "Velmont", "Wexley", "Yarrow", "Zephra", "Altamar", "Bexhill", "Cindral", "Dovetail", "Emberly", "Farrow",
)  # fmt: skip

SUPPLIERS = ("Meridian Trade", "Halden Wholesale", "Osprey Direct", "Northgate Goods")

DEVICES = (
    "iPhone 13", "iPhone 14", "iPhone 15", "iPhone 15 Pro", "iPhone 16", "Galaxy S22", "Galaxy S23",
    "Galaxy S24", "Galaxy A54", "Pixel 7", "Pixel 8", "Pixel 9", "Xperia 5", "Moto G84", "Nord 3",
)  # fmt: skip

COLOURS = ("Black", "Graphite", "Silver", "White", "Navy", "Forest Green", "Rose", "Sand", "Clear", "Red")


class Kind(NamedTuple):
    """How the products of one type are named, priced and spread."""

    type: str
    path: tuple[str, ...]
    """Category path from the shop's root to the leaf that names the type."""
    share: float
    """Part of the catalogue, 0 to 1; the shares of ``KINDS`` add up to 1."""
    features: tuple[str, ...]
    nouns: tuple[str, ...]
    endings: tuple[str, ...]
    """What follows the noun; ``{device}`` is replaced by a device."""
    low: float
    high: float
    """Range of prices in the shop's currency."""


KINDS = (
    Kind(
        "phone_case", ("Accessories", "Mobile", "Phone Cases"), 0.34,
        ("Slim", "Rugged", "Leather", "Silicone", "Magnetic", "Aluminium", "Shockproof", "Wallet",
         "Adjustable"),
        ("Case", "Cover", "Kickstand Case", "Flip Case", "Bumper Case"),
        ("for {device}", "for {device}", "for {device}", ""), 6, 60,
    ),
    Kind(
        "screen_protector", ("Accessories", "Mobile", "Screen Protectors"), 0.12,
        ("Tempered Glass", "Privacy", "Matte", "Edge to Edge", "Anti Glare"),
        ("Screen Protector", "Screen Film"), ("for {device}", "for {device} 2 Pack"), 4, 30,
    ),
    Kind(
        "cable", ("Accessories", "Power", "Cables"), 0.12,
        ("Braided", "Fast", "Short", "Extra Long", "Flat"),
        ("USB C Cable", "Lightning Cable", "USB C to USB C Cable"), ("1 m", "2 m", "3 m"), 4, 35,
    ),
    Kind(
        "charger", ("Accessories", "Power", "Chargers"), 0.11,
        ("Fast", "Compact", "Dual Port", "Wireless", "Foldable"),
        ("Wall Charger", "Car Charger", "Charging Pad"), ("20 W", "30 W", "65 W", "for {device}"), 9, 70,
    ),
    Kind(
        "power_bank", ("Accessories", "Power", "Power Banks"), 0.07,
        ("Slim", "Rugged", "Magnetic", "Solar", "Fast"),
        ("Power Bank", "Battery Pack"), ("5000 mAh", "10000 mAh", "20000 mAh"), 14, 90,
    ),
    Kind(
        "headphones", ("Accessories", "Audio", "Headphones"), 0.08,
        ("Wireless", "Noise Cancelling", "Foldable", "Sport", "Open Ear"),
        ("Headphones", "Earbuds", "Headset"), ("", "with Case", "with Microphone"), 15, 220,
    ),
    Kind(
        "mount", ("Accessories", "Mobile", "Mounts"), 0.07,
        ("Adjustable", "Magnetic", "Aluminium", "Foldable", "Suction"),
        ("Car Mount", "Desk Mount", "Phone Holder"), ("", "for {device}", "for Tablets"), 8, 55,
    ),
    Kind(
        "laptop_stand", ("Accessories", "Computer", "Laptop Stands"), 0.06,
        ("Adjustable", "Foldable", "Aluminium", "Portable", "Ergonomic"),
        ("Laptop Stand", "Laptop Riser", "Notebook Stand"),
        ("13 inch", "15 inch", "with Travel Case", ""), 15, 90,
    ),
    Kind(
        "laptop_sleeve", ("Accessories", "Computer", "Laptop Sleeves"), 0.03,
        ("Slim", "Padded", "Leather", "Waterproof"),
        ("Laptop Sleeve", "Notebook Bag"), ("13 inch", "15 inch", "16 inch"), 12, 80,
    ),
)  # fmt: skip
