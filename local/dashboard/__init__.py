"""The dashboard's definition, and what answers its queries on one's own machine."""
