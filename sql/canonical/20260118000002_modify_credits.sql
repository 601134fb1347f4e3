-- Migration: 20260118000002_modify_credits.sql

-- Add job_id for tracking credits per job
ALTER TABLE credit_ledger 
ADD COLUMN IF NOT EXISTS job_id UUID;

-- Add Stripe reference
ALTER TABLE credit_ledger 
ADD COLUMN IF NOT EXISTS stripe_payment_id TEXT;

-- Add balance_after for audit
ALTER TABLE credit_ledger 
ADD COLUMN IF NOT EXISTS balance_after INTEGER;

-- Add constraint for valid types
ALTER TABLE credit_ledger 
DROP CONSTRAINT IF EXISTS credit_ledger_type_check;

ALTER TABLE credit_ledger 
ADD CONSTRAINT credit_ledger_type_check 
CHECK (type IN ('purchase', 'usage', 'refund', 'grant', 'expire', 'reserve', 'subscription'));

-- Add indexes
CREATE INDEX IF NOT EXISTS idx_credit_job ON credit_ledger(job_id);
CREATE INDEX IF NOT EXISTS idx_credit_stripe ON credit_ledger(stripe_payment_id);
