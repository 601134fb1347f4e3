-- Migration: 20260118000009_rpc_functions.sql

-- Get credit balance
CREATE OR REPLACE FUNCTION get_credit_balance(p_user_id UUID)
RETURNS INTEGER
LANGUAGE sql
STABLE
SECURITY DEFINER
AS $$
  SELECT COALESCE(SUM(amount), 0)::INTEGER
  FROM credit_ledger
  WHERE user_id = p_user_id;
$$;

-- Reserve credits for a job
CREATE OR REPLACE FUNCTION reserve_credits(
  p_user_id UUID,
  p_job_id UUID,
  p_amount INTEGER
)
RETURNS BOOLEAN
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
  v_balance INTEGER;
BEGIN
  -- Get current balance
  SELECT get_credit_balance(p_user_id) INTO v_balance;
  
  -- Check if sufficient
  IF v_balance < p_amount THEN
    RETURN FALSE;
  END IF;
  
  -- Insert reservation (negative amount)
  INSERT INTO credit_ledger (user_id, type, amount, job_id, note)
  VALUES (p_user_id, 'reserve', -p_amount, p_job_id, 'Reserved for job');
  
  RETURN TRUE;
END;
$$;

-- Finalize job credits (convert reservation to usage)
CREATE OR REPLACE FUNCTION finalize_job_credits(
  p_job_id UUID,
  p_final_cost INTEGER
)
RETURNS VOID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
  v_user_id UUID;
  v_reserved INTEGER;
BEGIN
  -- Get job info
  SELECT user_id, cost_credits_reserved 
  INTO v_user_id, v_reserved
  FROM jobs WHERE id = p_job_id;
  
  -- Delete reservation
  DELETE FROM credit_ledger 
  WHERE job_id = p_job_id AND type = 'reserve';
  
  -- Add final usage
  INSERT INTO credit_ledger (user_id, type, amount, job_id, note)
  VALUES (v_user_id, 'usage', -p_final_cost, p_job_id, 'Video generation');
  
  -- Refund difference if any
  IF v_reserved > p_final_cost THEN
    INSERT INTO credit_ledger (user_id, type, amount, job_id, note)
    VALUES (v_user_id, 'refund', v_reserved - p_final_cost, p_job_id, 'Unused credits refund');
  END IF;
END;
$$;

-- Release job credits (on failure)
CREATE OR REPLACE FUNCTION release_job_credits(p_job_id UUID)
RETURNS VOID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
  v_user_id UUID;
  v_reserved INTEGER;
BEGIN
  -- Get reserved amount
  SELECT user_id, ABS(amount) 
  INTO v_user_id, v_reserved
  FROM credit_ledger 
  WHERE job_id = p_job_id AND type = 'reserve'
  LIMIT 1;
  
  IF v_reserved IS NOT NULL THEN
    -- Delete reservation
    DELETE FROM credit_ledger 
    WHERE job_id = p_job_id AND type = 'reserve';
    
    -- Log the release
    INSERT INTO credit_ledger (user_id, type, amount, job_id, note)
    VALUES (v_user_id, 'refund', v_reserved, p_job_id, 'Job failed - credits released');
  END IF;
END;
$$;

-- Claim draft prompt after signup
CREATE OR REPLACE FUNCTION claim_draft_prompt(
  p_session_token TEXT,
  p_user_id UUID
)
RETURNS UUID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
  v_draft_id UUID;
BEGIN
  UPDATE draft_prompts
  SET user_id = p_user_id, updated_at = NOW()
  WHERE session_token = p_session_token
    AND user_id IS NULL
    AND expires_at > NOW()
  RETURNING id INTO v_draft_id;
  
  RETURN v_draft_id;
END;
$$;

-- Add credits (for purchases, grants)
CREATE OR REPLACE FUNCTION add_credits(
  p_user_id UUID,
  p_amount INTEGER,
  p_type TEXT,
  p_note TEXT,
  p_stripe_payment_id TEXT DEFAULT NULL
)
RETURNS VOID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
  INSERT INTO credit_ledger (user_id, type, amount, note, stripe_payment_id)
  VALUES (p_user_id, p_type, p_amount, p_note, p_stripe_payment_id);
END;
$$;
