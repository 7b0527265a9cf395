"""The index made anew from packs (docs/DESIGN.md, "Rebuilding the index")."""
