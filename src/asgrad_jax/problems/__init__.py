"""Problems: objectives with the gradients of n workers."""
