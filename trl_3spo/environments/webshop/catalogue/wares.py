"""The products of the generated shop: kinds in six categories, with everything that a product of a kind may have.

Written for this package. Categories and options have their usual names in WebShop's data. WebShop compares options
loosely: its colour normalisation reads "tan" in "tangerine" and "blue" in "blueberry". The values of one kind are
chosen so that this comparison tells them apart and finds each requested one.
"""

from typing import NamedTuple


class Ware(NamedTuple):
    """A kind of product.

    Args:
        category: One word for the department.
        query: Name that customers use; also the search that it is filed under.
        path: Categories in the shop, from the widest to the narrowest.
        synonym: Other name in titles.
        attributes: Properties, of which every product has three; no two can be confused.
        options: Name of each choice -> values of which every product offers some; at least four.
        prices: Least and greatest in dollars.
    """

    category: str
    query: str
    path: tuple[str, ...]
    synonym: str
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    prices: tuple[int, int]


_COLORS = ("black", "white", "navy", "burgundy", "forest green", "sky blue", "charcoal", "olive", "mustard", "purple")
_WOODS = ("oak", "walnut", "white", "black", "espresso", "cherry")
_CLOTHES = ("xs", "s", "m", "l", "xl", "xxl")
_SHOES = ("6", "7", "8", "9", "10", "11")
_OUNCES = ("6 oz", "12 oz", "24 oz", "48 oz")
_PACKS = ("1 pack", "2 pack", "4 pack", "6 pack")

WARES = (
    Ware(
        "fashion",
        "women's running shoes",
        ("Clothing", "Women", "Shoes", "Running Shoes"),
        "Training Sneakers",
        (
            "arch support",
            "breathable mesh",
            "slip resistant",
            "memory foam",
            "reflective trim",
            "quick lace",
            "wide toe",
        ),
        {"color": _COLORS, "size": _SHOES},
        (35, 130),
    ),
    Ware(
        "fashion",
        "men's dress shirts",
        ("Clothing", "Men", "Shirts", "Dress Shirts"),
        "Business Tops",
        ("long sleeve", "slim fit", "wrinkle free", "machine wash", "button down", "stretch fabric", "french cuff"),
        {"color": _COLORS, "size": _CLOTHES},
        (20, 80),
    ),
    Ware(
        "fashion",
        "women's rain jackets",
        ("Clothing", "Women", "Coats", "Rain Jackets"),
        "Hooded Windbreakers",
        ("fully waterproof", "drawstring waist", "zip pockets", "fleece lined", "packs small", "taped seams"),
        {"color": _COLORS, "size": _CLOTHES},
        (40, 160),
    ),
    Ware(
        "fashion",
        "men's hiking socks",
        ("Clothing", "Men", "Socks", "Hiking Socks"),
        "Crew Hosiery",
        ("merino wool", "moisture wicking", "cushioned heel", "seamless toe", "odor control", "compression fit"),
        {"color": _COLORS, "size": ("s", "m", "l", "xl")},
        (10, 45),
    ),
    Ware(
        "beauty",
        "face moisturizer",
        ("Beauty", "Skin Care", "Face", "Moisturizers"),
        "Day Cream",
        ("hyaluronic acid", "fragrance free", "oil control", "cruelty free", "sun protection", "vitamin c"),
        {"scent": ("rose", "cucumber", "aloe", "vanilla", "jasmine"), "size": ("1 oz", "3 oz", "8 oz", "20 oz")},
        (12, 70),
    ),
    Ware(
        "beauty",
        "shampoo",
        ("Beauty", "Hair Care", "Cleansing", "Shampoos"),
        "Hair Wash",
        ("sulfate free", "tea tree", "argan oil", "color safe", "anti dandruff", "for curls"),
        {"scent": ("coconut", "lavender", "sage", "citrus", "almond"), "size": ("8 oz", "16 oz", "32 oz", "1 gallon")},
        (8, 50),
    ),
    Ware(
        "beauty",
        "lipstick",
        ("Beauty", "Makeup", "Lips", "Lipsticks"),
        "Lip Color",
        ("long lasting", "matte finish", "shea butter", "transfer proof", "paraben free", "high pigment"),
        {"color": ("ruby", "coral", "plum", "nude", "cherry", "mauve", "brick", "fuchsia")},
        (7, 45),
    ),
    Ware(
        "beauty",
        "makeup brush set",
        ("Beauty", "Tools", "Brushes", "Brush Sets"),
        "Cosmetic Applicators",
        ("synthetic bristles", "bamboo handle", "travel case", "easy clean", "dense head", "angled tip"),
        {
            "color": ("black", "white", "rose", "silver", "teal"),
            "style": ("basic", "starter", "complete", "professional"),
        },
        (15, 90),
    ),
    Ware(
        "electronics",
        "wireless earbuds",
        ("Electronics", "Audio", "Headphones", "Earbuds"),
        "In Ear Headphones",
        ("noise cancelling", "fast charging", "sweat proof", "touch control", "dual microphone", "deep bass"),
        {"color": ("black", "white", "navy", "mint", "lilac", "silver"), "style": ("basic", "sport", "studio", "kids")},
        (25, 220),
    ),
    Ware(
        "electronics",
        "phone case",
        ("Electronics", "Phones", "Accessories", "Cases"),
        "Protective Cover",
        ("shock absorbent", "card holder", "kickstand included", "raised bezel", "magnetic mount", "scratch proof"),
        {"color": _COLORS, "size": ("mini", "regular", "plus", "ultra")},
        (8, 50),
    ),
    Ware(
        "electronics",
        "usb c charging cable",
        ("Electronics", "Phones", "Accessories", "Cables"),
        "Type C Cord",
        ("nylon braided", "data transfer", "tangle free", "strain relief", "angled plug", "power delivery"),
        {"color": ("black", "white", "purple", "silver", "teal"), "size": ("1 foot", "3 feet", "6 feet", "10 feet")},
        (6, 40),
    ),
    Ware(
        "electronics",
        "portable bluetooth speaker",
        ("Electronics", "Audio", "Speakers", "Portable Speakers"),
        "Mini Boombox",
        ("water resistant", "stereo pairing", "hands free", "led lights", "carrying strap", "long battery"),
        {
            "color": ("black", "navy", "teal", "burgundy", "silver", "yellow"),
            "style": ("classic", "outdoor", "party", "desk"),
        },
        (25, 250),
    ),
    Ware(
        "furniture",
        "nightstand",
        ("Home", "Furniture", "Bedroom", "Nightstands"),
        "Bedside Table",
        ("solid wood", "easy assembly", "soft close", "cable port", "metal legs", "two drawers"),
        {"color": _WOODS, "style": ("farmhouse", "modern", "vintage", "shaker")},
        (50, 260),
    ),
    Ware(
        "furniture",
        "office chair",
        ("Home", "Furniture", "Office", "Chairs"),
        "Swivel Desk Seat",
        ("lumbar support", "height adjustable", "mesh back", "padded armrests", "silent wheels", "tilt lock"),
        {
            "color": ("black", "white", "navy", "teal", "burgundy", "charcoal"),
            "size": ("petite", "regular", "tall", "wide"),
        },
        (80, 420),
    ),
    Ware(
        "furniture",
        "floor lamp",
        ("Home", "Lighting", "Lamps", "Floor Lamps"),
        "Standing Light",
        ("dimmable bulb", "remote included", "linen shade", "marble base", "foot switch", "reading arm"),
        {"color": ("brass", "black", "white", "bronze", "silver"), "style": ("arc", "tripod", "torch", "tower")},
        (40, 210),
    ),
    Ware(
        "furniture",
        "area rug",
        ("Home", "Decor", "Floor", "Rugs"),
        "Woven Carpet",
        ("non slip backing", "stain resistant", "pet friendly", "low pile", "hand tufted", "outdoor use"),
        {
            "color": ("beige", "charcoal", "teal", "burgundy", "navy", "olive"),
            "size": ("2 by 3", "4 by 6", "5 by 8", "9 by 12"),
        },
        (30, 380),
    ),
    Ware(
        "grocery",
        "granola bars",
        ("Food", "Snacks", "Bars", "Granola Bars"),
        "Oat Snacks",
        ("gluten free", "high protein", "no added sugar", "certified organic", "individually wrapped", "nut butter"),
        {"flavor name": ("honey", "apple cinnamon", "chocolate", "coconut", "maple"), "size": _PACKS},
        (8, 50),
    ),
    Ware(
        "grocery",
        "ground coffee",
        ("Food", "Drinks", "Coffee", "Ground Coffee"),
        "Roasted Beans",
        ("fair trade", "single origin", "low acid", "shade grown", "small batch", "resealable bag"),
        {"flavor name": ("hazelnut", "vanilla", "caramel", "mocha", "breakfast"), "size": _OUNCES},
        (9, 60),
    ),
    Ware(
        "grocery",
        "herbal tea",
        ("Food", "Drinks", "Tea", "Herbal Tea"),
        "Infusion Sachets",
        ("caffeine free", "plastic free bags", "hand picked", "kosher certified", "loose leaf", "sleep blend"),
        {
            "flavor name": ("chamomile", "ginger", "rooibos", "hibiscus", "lemon"),
            "size": ("small box", "tin", "pouch", "bulk bag"),
        },
        (6, 40),
    ),
    Ware(
        "grocery",
        "trail mix",
        ("Food", "Snacks", "Nuts", "Trail Mix"),
        "Fruit and Nut Blend",
        ("dairy free", "low sodium", "non gmo", "plant based", "keto friendly", "dry roasted"),
        {"flavor name": ("tropical", "cranberry", "spicy", "sweet", "coffee"), "size": _OUNCES},
        (8, 55),
    ),
    Ware(
        "sports",
        "yoga mat",
        ("Sports", "Fitness", "Yoga", "Mats"),
        "Exercise Pad",
        ("extra thick", "carry strap", "natural rubber", "alignment lines", "double sided", "tear proof"),
        {"color": _COLORS, "size": ("short", "regular", "long", "jumbo")},
        (15, 110),
    ),
    Ware(
        "sports",
        "insulated water bottle",
        ("Sports", "Outdoor", "Hydration", "Bottles"),
        "Steel Flask",
        ("leak proof", "bpa free", "straw lid", "double wall", "dishwasher safe", "powder coated"),
        {"color": _COLORS, "size": ("12 oz", "18 oz", "32 oz", "64 oz")},
        (12, 60),
    ),
    Ware(
        "sports",
        "camping tent",
        ("Sports", "Outdoor", "Camping", "Tents"),
        "Family Shelter",
        ("easy setup", "rain fly", "mesh windows", "storage pockets", "aluminum poles", "mud mat"),
        {
            "color": ("olive", "mustard", "navy", "burgundy", "teal", "khaki"),
            "size": ("solo", "couple", "family", "group"),
        },
        (60, 420),
    ),
    Ware(
        "sports",
        "travel backpack",
        ("Sports", "Outdoor", "Bags", "Backpacks"),
        "Carry On Daypack",
        ("laptop sleeve", "charging port", "anti theft", "chest strap", "shoe compartment", "lockable zippers"),
        {"color": _COLORS, "size": ("18l", "25l", "35l", "60l")},
        (25, 180),
    ),
)
