"""How much is tried of a property where its test doesn't say."""

from hypothesis import settings

settings.register_profile("unit", max_examples=50, deadline=None)  # a busy machine misses any deadline
settings.load_profile("unit")
