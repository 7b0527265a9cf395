"""What single requests cost, beside other filesystems."""
