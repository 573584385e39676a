"""Why a run decided as it did: computed from its record, never generated."""
